"""Users in the admin."""

from functools import cached_property
from typing import ClassVar, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet

from accounts.forms import UserChangeForm, UserCreationForm
from accounts.models import User

# Rows from which on PostgreSQL's estimate is good enough for the number of pages.
MANY = 50_000


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of a table that may be large: to count exactly, PostgreSQL reads all of it.

    https://wiki.postgresql.org/wiki/Count_estimate
    """

    @cached_property
    def count(self) -> int:
        """Return the number of rows; of a large table that is not filtered, about that number."""
        rows = cast("QuerySet[User]", self.object_list)
        if not rows.query.where:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
                    [rows.model._meta.db_table],
                )
                estimate = int(cursor.fetchone()[0])
            if estimate >= MANY:
                return estimate
        return rows.count()


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Django's own user admin, with the address in the place of the username."""

    form = UserChangeForm
    add_form = UserCreationForm
    fieldsets = (
        (None, {"fields": ("email", "password", "name")}),
        (
            "Permissions",
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "usable_password", "password1", "password2"),
            },
        ),
    )
    readonly_fields: ClassVar = ["last_login", "date_joined"]
    list_display = ("email", "name", "is_staff", "is_active", "date_joined")
    search_fields = ("email", "name")
    ordering = ("email",)
    paginator = EstimatingPaginator
    show_full_result_count = False
    list_per_page = 25
