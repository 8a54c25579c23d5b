"""Work that a background worker does for this app."""

from django.tasks import task

from accounts.forms import PasswordResetForm


@task
def send_password_reset(email: str, domain: str, use_https: bool) -> None:
    """Send the link to every active account with that address, if there is one."""
    form = PasswordResetForm({"email": email})
    if form.is_valid():
        form.save(domain_override=domain, use_https=use_https)
