"""The log: one JSON object per line, even for uncaught exceptions, and without secrets."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import subprocess
import sys
from typing import Any, Literal

import pytest
from django.conf import settings
from django.test import RequestFactory
from structlog.stdlib import ProcessorFormatter

from serving.log_config import configure
from tests import forked

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

# A program that logs once with each of these loggers, and as its own code may.
LOGGING = """
import logging, logging.config, warnings
import structlog
from serving import log_config

early = logging.getLogger("early")
logging.config.dictConfig(log_config.configure(LEVEL, "json", batched=BATCHED))
structlog.contextvars.bind_contextvars(request_id="one")
early.warning("made before the configuration")
for name in NAMES:
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, "in %d", level, extra={"color_message": "in color"})
# Both log requests, at this level.
for name in ("gunicorn.access", "uvicorn.access"):
    logging.getLogger(name).info("in 20")
warnings.warn("old")
log = structlog.get_logger("structured")
log.debug("hidden unless DEBUG")
log.warning("%s of them", 3, more="yes")
for message in ("Unsupported upgrade request.", "No supported WebSocket library detected.", "Kept"):
    logging.getLogger("uvicorn.error").warning(message)
logging.shutdown()
"""
FROM_DEBUG = ("django", "django.server", "django_ox", "gunicorn.error", "uvicorn.error", "ours")


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


def logged_by_program(level: str, *, batched: bool = True) -> list[dict[str, Any]]:
    """Run LOGGING with a LOG_LEVEL, and return its lines."""
    others = ("access", "django.tasks", "mcp", "oauth2_provider", "oauthlib", "psycopg.pool")
    given = f"LEVEL, NAMES, BATCHED = {level!r}, {(*FROM_DEBUG, *others)}, {batched}"
    done = forked.run("-c", given + LOGGING, env=os.environ, cwd=settings.SRC)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("level", "lowest"), [("DEBUG", 10), ("INFO", 20), ("ERROR", 40)])
def test_each_logger_writes_once_from_its_level(level: str, lowest: int) -> None:
    """What gunicorn.access, uvicorn.access and django.tasks log, other loggers log too."""
    lines = logged_by_program(level)
    written = [(line["logger"], line["message"]) for line in lines if line["message"][:3] == "in "]
    levels = dict.fromkeys(FROM_DEBUG, lowest) | {
        "access": lowest,
        "mcp": max(30, lowest),
        "oauth2_provider": max(20, lowest),
        "oauthlib": max(20, lowest),
        "psycopg.pool": 40,
    }
    # The batch with the access lines is written at the end.
    assert sorted(written) == sorted(
        (name, f"in {number}")
        for name, from_level in levels.items()
        for number in (10, 20, 30, 40)
        if number >= from_level
    )


def test_access_lines_are_written_in_order_unless_batched() -> None:
    """runserver may be killed, and would lose a batch."""
    loggers = [line["logger"] for line in logged_by_program("INFO", batched=False)]
    assert "access" not in loggers[loggers.index("oauthlib") :]


def test_line_has_these_fields_only() -> None:
    lines = logged_by_program("INFO")
    now = dt.datetime.now(dt.UTC)
    for line in lines:
        written = dt.datetime.fromisoformat(line.pop("timestamp"))
        assert written.utcoffset() == dt.timedelta()
        assert abs(now - written) < dt.timedelta(minutes=1)
        assert line.pop("request_id") == "one"
    assert lines[0] == {
        "level": "warning",
        "logger": "early",
        "message": "made before the configuration",
    }
    assert {"level": "info", "logger": "ours", "message": "in 20"} in lines
    own = [line for line in lines if line["logger"] == "structured"]
    assert own == [
        {"level": "warning", "logger": "structured", "message": "3 of them", "more": "yes"}
    ]
    [warning] = [line for line in lines if line["logger"] == "py.warnings"]
    assert "UserWarning: old" in warning["message"]
    about = [line["message"] for line in lines if line["logger"] == "uvicorn.error"]
    assert "Kept" in about
    assert not [message for message in about if "pgrade" in message or "WebSocket" in message]


def test_text_has_neither_colors_nor_local_variables() -> None:
    secret = "unseen" * 2
    try:
        raise ValueError("failed")
    except ValueError:
        line = logged("console", msg="Sorry", exc_info=sys.exc_info(), path=f"/reset/MQ/{secret}/")
    assert "Sorry" in line
    assert "ValueError: failed" in line
    assert "/reset/MQ/***/" in line
    assert "\033" not in line
    assert secret not in line


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
    assert thread["logger"] == process["logger"] == "uncaught"
    for record in (thread, process):
        assert "failed on purpose" in record["exception"]
        assert "unseen" not in record["exception"]
