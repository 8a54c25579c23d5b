"""Signing in and out, and passwords: mostly Django's views, with the templates in registration/."""

from django.contrib.auth.views import LoginView
from django.urls import include, path

from accounts.views import PasswordResetView

urlpatterns = [
    path("login/", LoginView.as_view(extra_context={"title": "Sign in"}), name="login"),
    path("password_reset/", PasswordResetView.as_view(), name="password_reset"),
    path("", include("django.contrib.auth.urls")),
]
