"""The authorization server's endpoints and the users' pages, on top of django-oauth-toolkit's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.db import DataError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from oauth2_provider import views
from oauth2_provider.exceptions import OAuthToolkitError
from oauth2_provider.models import AccessToken, Application, revoke_access_token
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, InvalidRequestError

from accounts.throttle import (
    count_revocable_attempt,
    counter_key,
    lock,
    networks,
    uncount_attempt,
)
from oauth.resource import resource_urls
from oauth.validator import LOOPBACK

# Failed requests to the token and revocation endpoints, by network. The limit bounds the load only:
# codes and tokens are too long to guess. It is high, because all users of a hosted client share the
# network of that client, and any of them can make its requests fail.
MAX_FAILURES = 1000


class ProtectedResourceMetadataView(views.OAuthProtectedResourceMetadataView):  # type: ignore[misc]
    """Describes an MCP server (RFC 9728)."""

    def get_resource(self, request: HttpRequest) -> str:
        """Return the URL of the server whose path ends the request's."""
        resource: str = super().get_resource(request)
        if resource not in resource_urls(request):
            raise Http404
        return resource


@method_decorator(never_cache, name="dispatch")
class AuthorizationView(views.AuthorizationView):  # type: ignore[misc]
    """The consent page."""

    template_name = "oauth/authorize.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer 400 to a query that oauthlib cannot parse or PostgreSQL cannot store."""
        # Clients have no secret, so any program can claim to be one that the user allowed before.
        # Without this parameter the library asks for consent each time (RFC 8252, section 8.6).
        query = request.GET.copy()
        query.pop("approval_prompt", None)
        request.GET = query  # type: ignore[assignment]
        try:
            response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        except (DataError, ValueError) as error:
            raise BadRequest from error
        return response

    def validate_authorization_request(self, request: HttpRequest) -> Any:
        """Return the scopes and the credentials of a valid request.

        Raises OAuthToolkitError, also if the challenge is not S256 or if the client asks for a
        token for another resource.
        """
        scopes, credentials = super().validate_authorization_request(request)
        error = None
        if credentials.get("code_challenge_method") != "S256":
            error = InvalidRequestError("code_challenge_method must be S256.")
        elif not set(request.GET.getlist("resource")).issubset(resource_urls(request)):
            error = CustomOAuth2Error("invalid_target", "The resource is not an MCP server here.")
        if error:
            error.state = credentials.get("state")
            raise OAuthToolkitError(error, redirect_uri=credentials["redirect_uri"])
        return scopes, credentials

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add where the client runs, and the host that publishes its metadata document."""
        host = urlsplit(kwargs["redirect_uri"]).hostname
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {
            "host": host,
            "is_local": host in LOOPBACK,
            "publisher": urlsplit(kwargs["client_id"]).hostname,
        }

    def form_invalid(self, form: Any) -> HttpResponse:
        """Answer 400, because all fields are hidden ones."""
        raise BadRequest

    def form_valid(self, form: Any) -> HttpResponseBase:
        """Return to the client, with a code if the user allowed it."""
        get_object_or_404(Application, client_id=form.cleaned_data["client_id"])
        # A client that names no resource gets tokens for all of them. The library would store none,
        # and accept the tokens everywhere.
        allowed = resource_urls(self.request)
        requested = form.cleaned_data["resource"].split() or allowed
        if not set(requested).issubset(allowed):
            raise BadRequest
        form.cleaned_data["resource"] = " ".join(requested)
        response: HttpResponseBase = super().form_valid(form)
        return response

    def redirect(self, redirect_to: str, application: Application | None) -> HttpResponse:
        """Return a page that opens the client's redirect URI, or that links to it after an error.

        Browsers apply the policy's form-action to every redirect that follows a form: the consent
        form, the sign-in form before it, and any redirect of the client's own. This page ends that
        chain, so the policy stays strict.

        Only an answer to the consent form opens the URI by itself. Anyone may register a client, so
        a link to this site could otherwise redirect its visitors to any other site.
        """
        target = super().redirect(redirect_to, application)["Location"]
        answered = self.request.method == "POST"
        context = {
            "application": application,
            "target": target,
            "answered": answered,
            "host": urlsplit(target).hostname,
        }
        response = render(self.request, "oauth/return.html", context)
        if answered:
            response["Refresh"] = f"0; {target}"
        return response


class TokenView(views.TokenView):  # type: ignore[misc]
    """Exchanges codes and refresh tokens for access tokens."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the request. The library's own view also has the device grant."""
        return _throttled(request, self.authorization_flow_token_response)


class RevokeTokenView(views.RevokeTokenView):  # type: ignore[misc]
    """Revokes a token for its client (RFC 7009)."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the request."""
        return _throttled(request, super().post)


def _throttled(
    request: HttpRequest, respond: Callable[[HttpRequest], HttpResponseBase]
) -> HttpResponseBase:
    """Answer a client.

    Raises TooManyAttemptsError once MAX_FAILURES requests from its network fail in ten minutes.
    """
    limits = {counter_key("oauth token", networks(request)[-1]): MAX_FAILURES}
    at_limit = count_revocable_attempt(limits)
    try:
        response = respond(request)
    except (DataError, ValueError):
        response = JsonResponse({"error": "invalid_request"}, status=400)
    if response.status_code == 200:
        uncount_attempt(limits)
    elif at_limit:
        raise lock(at_limit)
    return response


@login_required
def connections(request: HttpRequest) -> HttpResponse:
    """List the clients that may act for the user."""
    return render(request, "oauth/connections.html", {"tokens": _connections(request)})


@login_required
@require_POST
def disconnect(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke an access token of the user and the refresh token that belongs to it."""
    revoke_access_token(get_object_or_404(_connections(request), pk=pk))
    return redirect("oauth2_provider:connections")


def _connections(request: HttpRequest) -> Any:
    """Return the user's access tokens that are valid or can be renewed: one for each connection."""
    renewable = Q(refresh_token__isnull=False, refresh_token__revoked=None)
    return (
        AccessToken.objects.filter(renewable | Q(expires__gt=timezone.now()), user=request.user)
        .select_related("application")
        .order_by("application__name", "-created")
    )
