"""Django's settings, for every target: only the environment differs (twelve-factor III).

The variables are declared in config/env.py. In the order of Django's own list:
https://docs.djangoproject.com/en/6.1/ref/settings/
"""

import socket
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from config import logging
from config.database import pool
from config.env import load

ENV = load()
SRC = Path(__file__).resolve().parent.parent

# -- core -----------------------------------------------------------------------------------------

DEBUG = ENV.DEBUG
SECRET_KEY = ENV.SECRET_KEY
SECRET_KEY_FALLBACKS = ENV.SECRET_KEY_FALLBACKS
ALLOWED_HOSTS = ENV.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = ENV.CSRF_TRUSTED_ORIGINS

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"

# The dev tools are in the dev image only, and stay off without DEBUG.
DEV_TOOLS = DEBUG and find_spec("debug_toolbar") is not None

INSTALLED_APPS = [
    # First, or Django's own reloader wins.
    *(["django_watchfiles"] if DEV_TOOLS else []),
    # Ahead of Django's apps, whose migrate and runserver it extends.
    "config",
    "accounts",
    "home",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *(["debug_toolbar", "django_browser_reload", "zeal"] if DEV_TOOLS else []),
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    *(["debug_toolbar.middleware.DebugToolbarMiddleware"] if DEV_TOOLS else []),
    # Ahead of whatever asks PostgreSQL for what a browser sent.
    "config.middleware.refuse_what_postgres_cannot_take",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *(
        [
            "django_browser_reload.middleware.BrowserReloadMiddleware",
            "zeal.middleware.zeal_middleware",
        ]
        if DEV_TOOLS
        else []
    ),
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"

# -- backing services -----------------------------------------------------------------------------

_database = ENV.database()
_options = _database.pop("OPTIONS")
DATABASES: dict[str, dict[str, Any]] = {
    "default": _database
    | {
        # A pool, not persistent connections, which leak under ASGI and exclude the pool.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": f"methodhub-{ENV.TARGET}-{socket.gethostname()}",
            "connect_timeout": ENV.DATABASE_CONNECT_TIMEOUT,
            "options": (
                f"-c statement_timeout={ENV.DATABASE_STATEMENT_TIMEOUT} "
                f"{_options.pop('options', '')}"
            ),
            "pool": pool(ENV),
        }
        # What the URL asks for: sslmode, connect_timeout …
        | _options,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENV.REDIS_URL,
        "OPTIONS": {
            # The site works without Redis, so it must not wait for it, nor ask again.
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_CLASS": "config.cache.ImpatientPool",
            "SOCKET_CONNECT_TIMEOUT": ENV.REDIS_TIMEOUT,
            "SOCKET_TIMEOUT": ENV.REDIS_TIMEOUT,
        },
    }
}

# Redis first, PostgreSQL behind it: with Redis away people stay signed in.
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# -- accounts -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

# -- static files ---------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = SRC.parent / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# In dev the files come from the apps, not from a STATIC_ROOT that collectstatic fills.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG
# Django's ASGI handler reads a synchronous iterator, as WhiteNoise gives, into memory before it
# sends, and warns of that: right for a film, of no matter for a style sheet.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")

# -- security -------------------------------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
if ENV.TLS_IN_FRONT:
    # The load balancer ends TLS and says so; without it, anybody could claim it.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = ENV.HSTS_SECONDS
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
else:
    # HSTS, redirect and Secure cookies: what TLS_IN_FRONT=false knowingly goes without.
    SILENCED_SYSTEM_CHECKS = [f"security.W0{number}" for number in ("04", "08", "12", "16")]

# -- logging --------------------------------------------------------------------------------------

LOGGING = logging.configure(ENV.LOG_LEVEL, ENV.LOG_FORMAT)

# -- dev tools ------------------------------------------------------------------------------------

# INTERNAL_IPS cannot name a container's gateway in advance; DEBUG alone decides.
DEBUG_TOOLBAR_CONFIG = {
    "SHOW_TOOLBAR_CALLBACK": "config.dev_tools.show_toolbar",
    "SHOW_COLLAPSED": True,
}
# A query repeated for every row of another (N+1) is a warning in the log, not an error; few
# repeats are the admin's own way.
ZEAL_RAISE = False
ZEAL_NPLUSONE_THRESHOLD = 10
