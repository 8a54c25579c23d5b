"""The admin pages for clients and their tokens, on top of django-oauth-toolkit's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from oauth2_provider.admin import grant_model, id_token_model
from oauth2_provider.models import Application

# Codes are valid for a minute, and this site issues no ID tokens.
for _unused in (grant_model, id_token_model, Application):
    admin.site.unregister(_unused)


@admin.register(Application)
class ApplicationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows all clients, and adds those that neither register nor publish a metadata document."""

    fields = ("name", "redirect_uris", "client_id", "registration_source", "created")
    readonly_fields = ("client_id", "registration_source", "created")
    list_display = ("name", "client_id", "registration_source", "created")
    list_filter = ("registration_source",)
    search_fields = ("name", "client_id")
    view_on_site = False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the client, which is public like all others."""
        obj.client_type = Application.CLIENT_PUBLIC
        obj.authorization_grant_type = Application.GRANT_AUTHORIZATION_CODE
        super().save_model(request, obj, form, change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Allow deleting a client with its tokens, which the library's admin does not delete."""
        deleted, counts, _permissions_needed, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, set(), protected
