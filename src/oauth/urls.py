"""URLs of the authorization server. The library looks some of them up by these names."""

from django.urls import path
from oauth2_provider.views import OAuthServerMetadataView

from oauth import registration, views

app_name = "oauth2_provider"

urlpatterns = [
    path(
        ".well-known/oauth-authorization-server",
        OAuthServerMetadataView.as_view(),
        name="oauth-server-metadata",
    ),
    path(
        ".well-known/oauth-protected-resource/<path:server>",
        views.ProtectedResourceMetadataView.as_view(),
        name="oauth-resource-metadata",
    ),
    path("oauth/authorize/", views.AuthorizationView.as_view(), name="authorize"),
    path("oauth/token/", views.TokenView.as_view(), name="token"),
    path("oauth/revoke/", views.RevokeTokenView.as_view(), name="revoke-token"),
    path("oauth/register/", registration.register, name="dcr-register"),
    path("accounts/connections/", views.connections, name="connections"),
    path("accounts/connections/<int:pk>/", views.disconnect, name="disconnect"),
]
