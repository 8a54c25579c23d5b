"""Django's own user forms, for a user without a username."""

from typing import Any

from django.contrib.auth import forms
from django.core.mail import send_mail
from django.template.loader import render_to_string

from accounts.models import User


class UserCreationForm(forms.AdminUserCreationForm):  # type: ignore[type-arg]
    """Asks for an address and, optionally, a password."""

    class Meta:
        model = User
        fields = ("email",)


class UserChangeForm(forms.UserChangeForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = "__all__"


class PasswordResetForm(forms.PasswordResetForm):
    """Raises an error if the mail cannot be sent; Django's own form only logs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail address"

    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        from_email: str | None,
        to_email: str,
        html_email_template_name: str | None = None,
    ) -> None:
        """Send the mail, so that the task that called ``save`` is retried after a failure."""
        subject = render_to_string(subject_template_name, context).strip()
        body = render_to_string(email_template_name, context)
        send_mail(subject, body, from_email, [to_email])
