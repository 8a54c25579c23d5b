"""What is logged, and how: one JSON object a line on stdout, or text for people.

Used twice, by settings.LOGGING and by gunicorn's logconfig_dict, so that gunicorn, uvicorn, Django,
Python's warnings and our own code write the same lines from the first one on. Code logs with
``logging`` or ``structlog`` alike; what structlog.contextvars holds is on every line of a request.
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

# Extras of Django's and uvicorn's own records that would say too much or the same twice: the
# request's representation holds the query string.
_DROPPED = ("request", "response", "color_message", "server_time")
# A link that sets a password works until it is used.
_RESET_TOKEN = re.compile(r"(/reset/[^/\s]+/)[^/\s]+")


def _trim(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in _DROPPED:
        event.pop(name, None)
    if "status_code" in event:
        event["status"] = event.pop("status_code")
    for name in ("event", "path"):
        if "/reset/" in str(event.get(name)):
            event[name] = _RESET_TOKEN.sub(r"\1***", str(event[name]))
    return event


_ALWAYS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _trim,
]


def configure(
    level: str, form: Literal["json", "console"], *, batched: bool = False
) -> dict[str, Any]:
    """Route structlog and Python's warnings to ``logging``; return what logging.config wants.

    ``level`` is the name of the least severe level that is logged; ``batched`` says that a server
    runs which ends in order, and so may keep access lines back for a moment.
    """
    render: list[Processor]
    if form == "json":
        # A traceback becomes one string, without the values of local variables.
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
            *_ALWAYS,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    # What no line holds need not be found out for each.
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]
    logging._srcfile = None
    # Their own handlers would say everything twice. gunicorn turns propagation off and lends its
    # handlers to uvicorn, so it needs the one there is.
    quiet = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "stdout": {
                "()": ProcessorFormatter,
                "foreign_pre_chain": _ALWAYS,
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
            "django": quiet,
            "django.server": quiet,
            "gunicorn.error": {"handlers": ["stdout"], "propagate": False, "level": level},
            "uvicorn.error": quiet,
            # Requests are logged by serving.access_log, with what these leave out.
            "gunicorn.access": {"handlers": [], "propagate": False},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # Every step of every sign-in, were it asked.
            "axes": {"level": "WARNING"},
            # The pool says every second that it has no connection; the requests' own errors do.
            "psycopg.pool": {"level": "ERROR"},
        },
    }


def log_uncaught() -> None:
    """Have an exception that ends the process, or a thread, logged as one line too."""

    def process(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        logging.getLogger("uncaught").critical(
            "%s ends the process", kind.__name__, exc_info=(kind, error, traceback)
        )

    def thread(args: threading.ExceptHookArgs) -> None:
        error = args.exc_value or args.exc_type()
        logging.getLogger("uncaught").error(
            "%s ends a thread",
            args.exc_type.__name__,
            exc_info=(args.exc_type, error, args.exc_traceback),
        )

    sys.excepthook = process
    threading.excepthook = thread
