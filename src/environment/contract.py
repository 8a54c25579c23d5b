"""The environment contract: every environment variable that the project reads.

Add a variable here and nowhere else, then run ``manage.py env --write``. Any variable ``NAME`` may
also be given as ``NAME_FILE``, the path of a file that holds the value.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from django.core.management.utils import get_random_secret_key

from environment.declaration import TARGETS, Between, Target, variable, variables
from environment.validators import (
    MIN_KEY_LENGTH,
    validate_database_secret,
    validate_database_url,
    validate_email_url,
    validate_host,
    validate_origin,
    validate_redis_url,
    validate_secret_key,
    validate_sender,
    validate_sslrootcert,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables of the contract, with their values."""

    # -- image ------------------------------------------------------------------------------------

    TARGET: Target = variable("Image target that is running.", default="ecs", place="image")
    BUILD: bool = variable(
        "An image is being built: placeholders replace missing required values, and no server "
        "starts.",
        default=False,
        place="image",
    )
    PORT: int = variable(
        "TCP port that the web process listens on.",
        default=8000,
        place="image",
        validator=Between(1, 65535),
    )

    # -- backing services -------------------------------------------------------------------------

    DATABASE_URL: str | None = variable(
        "PostgreSQL. Required unless DATABASE_SECRET is set.",
        expected="postgres://user:password@host:port/name",
        place="backing-services",
        secret=True,
        build_value="postgres://build@build/build",
        validator=validate_database_url,
    )
    DATABASE_SECRET: str | None = variable(
        "PostgreSQL, in the JSON that RDS keeps in Secrets Manager. The password may contain any "
        "character.",
        expected="JSON with username, password, host, port, dbname",
        place="backing-services",
        secret=True,
        validator=validate_database_secret,
    )
    DATABASE_DIRECT_URL: str | None = variable(
        "PostgreSQL itself, where DATABASE_URL names a pooler. Management commands connect to it.",
        expected="postgres://user:password@host:port/name",
        place="backing-services",
        secret=True,
        validator=validate_database_url,
    )
    DATABASE_OWNER_URL: str | None = variable(
        "PostgreSQL itself, as the role that owns the tables. Only migrate and flush use it. "
        "Without it, they use the role of DATABASE_URL, which must then own the tables.",
        expected="postgres://user:password@host:port/name",
        place="migrate",
        secret=True,
        validator=validate_database_url,
    )
    DATABASE_SSLMODE: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = variable(
        "TLS to PostgreSQL, as libpq's sslmode. Without it, libpq uses prefer.",
        place="backing-services",
    )
    DATABASE_SSLROOTCERT: str | None = variable(
        "Certificate authorities that may sign PostgreSQL's certificate, for verify-ca and "
        "verify-full.",
        expected="path of a PEM file, or system",
        place="backing-services",
        validator=validate_sslrootcert,
    )
    REDIS_URL: str = variable(
        "Redis, or a compatible server. Use rediss:// for TLS.",
        expected="redis://host:port/number",
        place="backing-services",
        secret=True,
        required_in=TARGETS,
        build_value="redis://build",
        validator=validate_redis_url,
    )
    EMAIL_URL: str | None = variable(
        "Mail server. Without it the dev target prints mail to its log, and the ecs target sends "
        "none, so that nobody can reset a forgotten password.",
        expected="smtps:// or smtp+starttls:// with user:password@host:port, or smtp://host:port",
        place="backing-services",
        secret=True,
        validator=validate_email_url,
    )

    # -- secrets ----------------------------------------------------------------------------------

    SECRET_KEY: str = variable(
        "Signs sessions and tokens. All replicas need the same key.",
        expected=f"text of {MIN_KEY_LENGTH} characters or more",
        place="secrets",
        secret=True,
        required_in=TARGETS,
        build_value=get_random_secret_key(),
        validator=validate_secret_key,
    )
    SECRET_KEY_FALLBACKS: list[str] = variable(
        "Former keys, still accepted while SECRET_KEY is rotated.",
        expected="keys, comma-separated",
        default=[],
        place="secrets",
        secret=True,
        validator=validate_secret_key,
    )

    # -- site -------------------------------------------------------------------------------------

    DEBUG: bool = variable("Django's debug mode. Dev only.", default=False)
    ALLOWED_HOSTS: list[str] = variable(
        "Host names that the site answers to.",
        expected="host names, comma-separated",
        default=[],
        required_in=("ecs",),
        build_value=["build"],
        validator=validate_host,
    )
    CSRF_TRUSTED_ORIGINS: list[str] = variable(
        "Other origins whose pages may post forms to the site.",
        expected="origins such as https://example.com, comma-separated",
        default=[],
        validator=validate_origin,
    )
    MCP_HUB: bool = variable(
        "Serves the site's MCP server at /mcp (docs/mcp.md). In the ecs target it needs an image "
        "that was built with the argument MCP_HUB=true.",
        default=False,
    )
    MCP_CLIENT_REGISTRATION: bool = variable(
        "MCP clients may register themselves. Needs MCP_HUB.", default=True
    )
    MCP_CLIENT_METADATA: bool = variable(
        "MCP clients may identify themselves by the URL of a document, which the site fetches. "
        "Needs MCP_HUB.",
        default=True,
    )
    DEFAULT_FROM_EMAIL: str | None = variable(
        "Sender of the site's mail. Required with EMAIL_URL.",
        expected="an address such as noreply@example.com or Name <noreply@example.com>",
        validator=validate_sender,
    )
    SITE_URL: str | None = variable("Site address that runserver prints. Dev only.")
    DJANGO_SUPERUSER_EMAIL: str | None = variable(
        "E-mail address of the superuser that `manage.py ensure_superuser` creates. Dev only."
    )
    DJANGO_SUPERUSER_PASSWORD: str | None = variable(
        "Password of that superuser. Dev only.", secret=True
    )

    # -- behind a load balancer -------------------------------------------------------------------

    TLS_IN_FRONT: bool = variable(
        "A proxy in front of the container ends TLS. Turns on Secure cookies, the HTTPS redirect "
        "and HSTS.",
        default=True,
    )
    TRUSTED_PROXY_COUNT: int = variable(
        "Proxies in front that append to X-Forwarded-For; 1 for an Application Load Balancer. "
        "Required in the ecs target with TLS_IN_FRONT: at 0 all clients behind a proxy share its "
        "address, and one of them can lock everybody out.",
        default=0,
        validator=Between(0, 10),
    )
    HSTS_SECONDS: int = variable(
        "Seconds for which browsers insist on HTTPS. Needs TLS_IN_FRONT.",
        default=3600,
        validator=Between(0, 63_072_000),
    )
    HSTS_INCLUDE_SUBDOMAINS: bool = variable(
        "Browsers insist on HTTPS for all subdomains as well.", default=True
    )
    HSTS_PRELOAD: bool = variable(
        "Asks browser vendors to build the domain into their list of HTTPS-only sites. Leaving "
        "that list takes months.",
        default=False,
    )

    # -- limits -----------------------------------------------------------------------------------

    # A process runs six threads for each connection (backends.database.thread_count). The largest
    # pool means 240, and one worker still fits into the pids_limit of compose.ecs-local.yml. For
    # more, add workers or replicas: Python runs one thread of a process at a time.
    DATABASE_POOL_SIZE: int = variable(
        "Largest number of PostgreSQL connections of one web process.",
        default=8,
        validator=Between(1, 40),
    )
    DATABASE_POOL_TIMEOUT: float = variable(
        "Seconds that a request waits for a pooled connection.",
        default=2.0,
        validator=Between(0.1, 60),
    )
    DATABASE_CONNECT_TIMEOUT: int = variable(
        "Seconds that opening a PostgreSQL connection may take; libpq's minimum is 2.",
        default=2,
        validator=Between(2, 60),
    )
    DATABASE_STATEMENT_TIMEOUT: int = variable(
        "Milliseconds that one SQL statement of a request may take; 0 for no limit. migrate sets "
        "it on the database role. If PostgreSQL has not answered a second after the limit, the "
        "connection is closed.",
        default=3000,
        validator=Between(0, 3_600_000),
    )
    REDIS_TIMEOUT: float = variable(
        "Seconds that one Redis operation may take before the site continues without Redis.",
        default=0.5,
        validator=Between(0.01, 60),
    )

    # -- processes --------------------------------------------------------------------------------

    # Not WEB_CONCURRENCY: gunicorn and uvicorn read that themselves, and end with a traceback when
    # it is not a number.
    WORKERS: int = variable(
        "Worker processes of one container.", default=2, validator=Between(1, 64)
    )
    TASK_CONCURRENCY: int = variable(
        "Background tasks that one worker container runs at once.",
        default=4,
        validator=Between(1, 64),
    )
    REPLICAS: int = variable(
        "Number of web containers, to compare their pools with PostgreSQL's max_connections. A "
        "rolling deployment runs up to twice the service's desired count.",
        default=1,
        validator=Between(1, 10_000),
    )
    KEEP_ALIVE: int = variable(
        "Seconds that an idle client connection stays open; longer than the load balancer's idle "
        "timeout (60).",
        default=75,
        validator=Between(1, 4000),
    )
    DRAIN_DELAY: float = variable(
        "Seconds after SIGTERM during which readiness is 503 and requests are still served.",
        default=5.0,
        validator=Between(0, 110),
    )
    GRACEFUL_TIMEOUT: int = variable(
        "Seconds from SIGTERM until unfinished requests are cancelled, DRAIN_DELAY included; less "
        "than ECS's stopTimeout (30).",
        default=25,
        validator=Between(1, 119),
    )

    # -- logging and development ------------------------------------------------------------------

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = variable(
        "Lowest level that is logged.", default="INFO"
    )
    LOG_FORMAT: Literal["json", "console"] = variable(
        "One JSON object per line, or text for people.", default="json"
    )
    WATCHFILES_FORCE_POLLING: bool = variable(
        "Poll for changed files where a bind mount delivers no file events. Dev only.",
        default=False,
    )


CONTRACT = variables(Environment)
