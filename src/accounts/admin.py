"""The admin pages for users."""

from functools import cached_property
from typing import ClassVar, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet

from accounts.forms import UserChangeForm, UserCreationForm
from accounts.models import User

# From this many rows on, PostgreSQL's estimate is accurate enough for the number of pages.
ESTIMATE_FROM = 50_000


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]
    """Paginator for large tables, because an exact count reads the whole table.

    https://wiki.postgresql.org/wiki/Count_estimate
    """

    @cached_property
    def count(self) -> int:
        """Return the number of rows, estimated if the table is large and not filtered."""
        rows = cast("QuerySet[User]", self.object_list)
        if not rows.query.where:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
                    [rows.model._meta.db_table],
                )
                estimate = int(cursor.fetchone()[0])
            if estimate >= ESTIMATE_FROM:
                return estimate
        return rows.count()


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Django's user admin, with the e-mail address instead of a username."""

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
