"""Django's own user forms, for a user without a username."""

from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.forms import UserChangeForm as DjangoUserChangeForm

from accounts.models import User


class UserCreationForm(AdminUserCreationForm):  # type: ignore[type-arg]
    """Make a user: address, and a password twice or none."""

    class Meta:
        """On our user."""

        model = User
        fields = ("email",)


class UserChangeForm(DjangoUserChangeForm):  # type: ignore[type-arg]
    """Change a user; the password is changed on a page of its own."""

    class Meta:
        """On our user."""

        model = User
        fields = "__all__"
