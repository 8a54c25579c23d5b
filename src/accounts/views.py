"""The views that differ from Django's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import forms, views
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render

from accounts.auth_backend import account_key
from accounts.forms import PasswordResetForm
from accounts.tasks import send_password_reset
from accounts.throttle import TooManyAttemptsError, count_attempt, counter_key, network_limits


class PasswordResetView(views.PasswordResetView):
    """Enqueues the mail, so that known and unknown addresses get the same answer in the same time.

    The task looks up the account.
    """

    form_class = PasswordResetForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Show a notice if the site sends no mail."""
        if not settings.MAILERS:
            context = {"title": self.title}
            return render(request, "registration/password_reset_no_mail.html", context)
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: forms.PasswordResetForm) -> HttpResponse:
        """Enqueue the mail, at most three times an hour for one account.

        After that, the answer stays the same, so strangers learn nothing and cannot flood the
        mailbox. The links that were sent stay valid.

        Raises TooManyAttemptsError after too many requests from one network.
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
