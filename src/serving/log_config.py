"""Logging: one JSON object per line on stdout, or text for people.

settings.LOGGING and gunicorn's logconfig_dict both use it. So gunicorn, uvicorn, Django, Python's
warnings and this project write the same format from the first line on. Code may log with
``logging`` or ``structlog``. Values bound in structlog.contextvars are on every line of a request.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

# Attributes of Django's and uvicorn's records that are left out. The representation of `request`
# holds the query string, which may be secret; the others repeat the rest of the line.
_DROPPED_EXTRAS = ("request", "response", "color_message", "server_time")
# Anyone who reads a password reset link can set the password, until the link is used.
_RESET_TOKEN = re.compile(r"(/reset/[^/\s]+/)[^/\s]+")


def _clean_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in _DROPPED_EXTRAS:
        event.pop(name, None)
    if "status_code" in event:
        event["status"] = event.pop("status_code")
    for name in ("event", "path"):
        if "/reset/" in str(event.get(name)):
            event[name] = _RESET_TOKEN.sub(r"\1***", str(event[name]))
    return event


_SHARED_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _clean_event,
]


def configure(
    level: str, log_format: Literal["json", "console"], *, batched: bool = False
) -> dict[str, Any]:
    """Route structlog and Python's warnings to ``logging``; return a dict for logging.config.

    ``level`` and ``log_format`` are LOG_LEVEL and LOG_FORMAT. ``batched`` writes access lines in
    batches. It is for servers that shut down in order: a killed process loses its last batch.
    """
    render: list[Processor]
    if log_format == "json":
        # A traceback becomes one string. It leaves out local variables, which may be secret.
        render = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ]
    else:
        render = [
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_SHARED_PROCESSORS,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    # No line shows these, so logging need not collect them for each record.
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]
    logging._srcfile = None
    # The root logger handles these: with handlers of their own, each line would appear twice.
    propagated = {"handlers": [], "propagate": True}

    def at_least(lowest: str) -> str:
        return max(lowest, level, key=logging.getLevelNamesMapping().__getitem__)

    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "stdout": {
                "()": ProcessorFormatter,
                "foreign_pre_chain": _SHARED_PROCESSORS,
                "processors": [ProcessorFormatter.remove_processors_meta, *render],
            },
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "stdout",
            },
            "batched": {
                "class": "serving.batched_log_handler.BatchedHandler",
                "stream": "ext://sys.stdout",
                "formatter": "stdout",
            },
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "access": {"handlers": ["batched" if batched else "stdout"], "propagate": False},
            "django": propagated,
            "django.server": propagated,
            # gunicorn turns propagation off and lends this logger's handlers to uvicorn.
            "gunicorn.error": {"handlers": ["stdout"], "propagate": False, "level": level},
            "uvicorn.error": propagated | {"filters": [_is_not_about_upgrades]},
            # serving.access_log replaces these: it logs the request id and the client.
            "gunicorn.access": {"handlers": [], "propagate": False},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # django-ox's worker command adds a handler unless this logger has one.
            "django_ox": {"handlers": ["stdout"], "propagate": False},
            # Below that level, the MCP SDK logs every call.
            "mcp": {"level": at_least("WARNING")},
            # At DEBUG, both log authorization codes.
            "oauth2_provider": {"level": at_least("INFO")},
            "oauthlib": {"level": at_least("INFO")},
            # django_ox logs the same, with duration and attempt.
            "django.tasks": {"level": "CRITICAL"},
            # While PostgreSQL is away, the pool warns every second. Requests log their own errors.
            "psycopg.pool": {"level": "ERROR"},
        },
    }


def _is_not_about_upgrades(record: logging.LogRecord) -> bool:
    """Drop uvicorn's warnings about WebSocket requests, which any client could cause.

    Such a request is answered as plain HTTP, and the access log has its line.
    """
    return not str(record.msg).startswith(("Unsupported upgrade", "No supported WebSocket"))


def log_uncaught() -> None:
    """Log uncaught exceptions, of the process or of a thread, as one line each."""

    def log_from_process(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        logging.getLogger("uncaught").critical(
            "%s ends the process", kind.__name__, exc_info=(kind, error, traceback)
        )

    def log_from_thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        logging.getLogger("uncaught").error(
            "%s ends a thread",
            args.exc_type.__name__,
            exc_info=(args.exc_type, error, args.exc_traceback),
        )

    sys.excepthook = log_from_process
    threading.excepthook = log_from_thread
