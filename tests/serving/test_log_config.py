"""The log: one JSON object per line, even for uncaught exceptions, and without secrets."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Literal

import pytest
from django.conf import settings
from django.test import RequestFactory
from structlog.stdlib import ProcessorFormatter

from serving.log_config import configure

# A program whose thread fails, and then its main thread, with gunicorn's logging configuration.
FAILING = """
import logging.config, threading
from serving import log_config

logging.config.dictConfig(log_config.configure("INFO", "json"))
log_config.log_uncaught()

def fail(secret):
    raise ValueError("failed on purpose")

thread = threading.Thread(target=fail, args=["un" + "seen"])
thread.start()
thread.join()
fail("un" + "seen")
"""


def logged(form: Literal["json", "console"], **attributes: object) -> str:
    """Return the line that a record with these attributes becomes."""
    options = configure("INFO", form)["formatters"]["stdout"]
    formatter = ProcessorFormatter(**{k: v for k, v in options.items() if k != "()"})
    return str(formatter.format(logging.makeLogRecord({"levelname": "INFO", **attributes})))


def test_password_reset_token_is_masked_in_the_log() -> None:
    path = "/accounts/reset/MQ/token-0123456789/"
    line = logged("json", msg=f"GET {path} 302", path=path)
    assert json.loads(line)["message"] == "GET /accounts/reset/MQ/***/ 302"
    assert "token-0123456789" not in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_query_string_of_a_records_request_is_not_logged(
    form: Literal["json", "console"], rf: RequestFactory
) -> None:
    request = rf.get("/search/?password=unseen")
    line = logged(form, msg="Internal Server Error: /search/", request=request, status_code=500)
    assert "/search/" in line
    assert "unseen" not in line


def test_uncaught_exceptions_are_one_line_each_without_local_variables() -> None:
    failed = subprocess.run(
        [sys.executable, "-c", FAILING],
        env=os.environ | {"PYTHONPATH": str(settings.SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr == ""
    thread, process = map(json.loads, failed.stdout.splitlines())
    assert (thread["level"], thread["message"]) == ("error", "ValueError ends a thread")
    assert (process["level"], process["message"]) == ("critical", "ValueError ends the process")
    for record in (thread, process):
        assert "failed on purpose" in record["exception"]
        assert "unseen" not in record["exception"]
