from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name


class AccountsConfig(AppConfig):
    name = "accounts"


@register(Tags.mail, deploy=True)
def check_mail(**_: Any) -> list[CheckMessage]:
    """Warn in ``check --deploy`` if no mail can be sent. Django's own check warns everywhere."""
    if settings.MAILERS:
        return []
    return [
        Warning(
            "The site sends no mail, so nobody can reset a forgotten password.",
            hint="Set EMAIL_URL.",
            id="accounts.W001",
        )
    ]
