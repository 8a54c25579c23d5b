"""The views that differ from Django's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import PasswordResetForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render

from accounts.auth_backend import account_key
from accounts.tasks import send_password_reset
from accounts.throttle import TooManyAttemptsError, count_attempt, counter_key, network_limits


class PasswordResetView(views.PasswordResetView):
    """Django's view, which answers the same, in the same time, whether the account exists or not.

    A task looks up the account and sends the mail.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Say so where the site sends no mail, instead of promising some."""
        if not settings.MAILERS:
            context = {"title": self.title}
            return render(request, "registration/password_reset_no_mail.html", context)
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        """Enqueue the mail; raises TooManyAttemptsError after too many requests from one network.

        Beyond three mails an hour to one account nothing is sent, and the answer stays the same:
        strangers learn nothing and cannot flood the mailbox, where three valid links already are.
        """
        email = form.cleaned_data["email"]
        count_attempt(network_limits("password reset", self.request))
        try:
            count_attempt(
                {counter_key("password reset", account_key(email)): 3}, timedelta(hours=1)
            )
        except TooManyAttemptsError:
            pass
        else:
            send_password_reset.enqueue(email, self.request.get_host(), self.request.is_secure())
        return HttpResponseRedirect(self.get_success_url())
