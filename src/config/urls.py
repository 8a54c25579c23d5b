"""The URLs of the site. probes.asgi answers /livez and /readyz before Django does."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

admin.site.site_header = admin.site.site_title = "MCP Method Hub"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("home.urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/", admin.site.urls),
]

handler500 = "serving.unavailability.server_error"

if settings.ENV.MCP_HUB:
    urlpatterns += [path("", include("oauth.urls"))]

if settings.DEV_TOOLS:
    from debug_toolbar.toolbar import debug_toolbar_urls

    urlpatterns += [
        path("__reload__/", include("django_browser_reload.urls")),
        *debug_toolbar_urls(),
    ]
