"""The accounts app."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name


class AccountsConfig(AppConfig):
    """Who may sign in."""

    name = "accounts"


@register(Tags.mail, deploy=True)
def check_mail(**_: Any) -> list[CheckMessage]:
    """Warn before a deployment that cannot send mail; Django itself does at every command."""
    if settings.MAILERS:
        return []
    return [
        Warning(
            "The site sends no mail, so nobody can reset a forgotten password.",
            hint="Set EMAIL_URL.",
            id="accounts.W001",
        )
    ]
