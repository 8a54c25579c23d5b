"""Signing in and out, and passwords: Django's own views, with the templates in registration/."""

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.urls import include, path
from django.views.generic import TemplateView

no_mail = TemplateView.as_view(
    template_name="registration/password_reset_no_mail.html",
    extra_context={"title": "Password reset"},
)

urlpatterns = [
    path("login/", LoginView.as_view(extra_context={"title": "Sign in"}), name="login"),
    # Rather than promise a mail that nobody sends.
    *([] if settings.MAILERS else [path("password_reset/", no_mail)]),
    path("", include("django.contrib.auth.urls")),
]
