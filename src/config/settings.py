"""Django's settings, for every target: only the environment differs (twelve-factor III).

The variables are declared in environment/contract.py. In the order of Django's own list:
https://docs.djangoproject.com/en/6.1/ref/settings/
"""

from importlib.util import find_spec
from pathlib import Path

from django.utils.csp import CSP

from backends.database import request_settings
from background.schedules import SCHEDULES
from environment.reading import load_or_exit
from environment.services import mailer_settings
from serving import log_config

ENV = load_or_exit()
SRC = Path(__file__).resolve().parent.parent

# -- core -----------------------------------------------------------------------------------------

DEBUG = ENV.DEBUG
SECRET_KEY = ENV.SECRET_KEY
SECRET_KEY_FALLBACKS = ENV.SECRET_KEY_FALLBACKS
ALLOWED_HOSTS = ENV.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = ENV.CSRF_TRUSTED_ORIGINS

# Longer request bodies get 413 (serving.request_body). It must hold the largest file upload.
REQUEST_BODY_MAX_BYTES = 10 * 2**20

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"
# Paths, as ("/events/",), whose asynchronous views wait for long before they respond. Views below
# them run in Django's own ASGI handler instead of the thread pool (serving.asgi_handler).
ASYNC_PATH_PREFIXES: tuple[str, ...] = ()

# The dev tools are in the dev image only, and stay off without DEBUG.
DEV_TOOLS = DEBUG and find_spec("debug_toolbar") is not None

INSTALLED_APPS = [
    # First, or Django's own reloader wins.
    *(["django_watchfiles"] if DEV_TOOLS else []),
    # Ahead of Django's apps, whose migrate and runserver they extend.
    "environment",
    "backends",
    *(["development"] if ENV.TARGET == "dev" else []),
    "accounts",
    "home",
    "background",
    "django_ox",
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
    "serving.static_files.StaticFiles",
    # Outside of what adds scripts to a page, so that it knows whether a nonce was used.
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    *(["debug_toolbar.middleware.DebugToolbarMiddleware"] if DEV_TOOLS else []),
    # Ahead of the session middleware, which looks up the browser's session key in PostgreSQL.
    "serving.middleware.RejectNullBytesMiddleware",
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
    "accounts.middleware.throttle_middleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [SRC / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.csp",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"

# -- backing services -----------------------------------------------------------------------------

DATABASES = {"default": request_settings(ENV)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ENV.REDIS_URL,
        "OPTIONS": {
            # The site works without Redis, so it must not wait for it, nor ask again.
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_FACTORY": "backends.cache.SharedClientFactory",
            "CONNECTION_POOL_CLASS": "backends.cache.CircuitBreakerPool",
            "SOCKET_CONNECT_TIMEOUT": ENV.REDIS_TIMEOUT,
            "SOCKET_TIMEOUT": ENV.REDIS_TIMEOUT,
        },
    }
}

# Redis first, PostgreSQL behind it: with Redis away people stay signed in.
SESSION_ENGINE = "backends.sessions"

# Without one, outside DEBUG, sending raises MailerDoesNotExist: no token gets into a log.
MAILERS = mailer_settings(ENV)
SILENCED_SYSTEM_CHECKS = ["mail.W001"]  # `check --deploy` says it, in accounts/apps.py
DEFAULT_FROM_EMAIL = ENV.DEFAULT_FROM_EMAIL or "webmaster@localhost"

# -- background tasks: docs/tasks.md ---------------------------------------------------------------

TASKS = {
    "default": {
        "BACKEND": "background.backend.Backend",
        "OPTIONS": {
            "WORKER_CLASS": "background.worker.Worker",
            # Ten attempts over 85 minutes: pauses begin at 10 seconds and double.
            "MAX_ATTEMPTS": 10,
            "BACKOFF_INITIAL": 10,
            "BACKOFF_MAX": 3600,
            # Seconds until the tasks of a worker that was killed run again; live workers renew.
            "LOCK_TIMEOUT": 30,
            # Seconds a task may take, then seconds until a worker whose task ignores that ends.
            # Together they are less than ECS's stopTimeout (30), so a deployment kills no task.
            "TASK_TIMEOUT": 20,
            "TASK_TIMEOUT_GRACE": 5,
            "SCHEDULES": SCHEDULES,
        },
    }
}

# -- accounts -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "accounts.auth_backend.LockoutBackend",
    # Sessions from before LockoutBackend name this one.
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "accounts.hashers.Argon2",
    # Of former times; such a hash is replaced when its owner signs in.
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "home"

# -- static files ---------------------------------------------------------------------------------

STATIC_URL = "static/"
STATICFILES_DIRS = [SRC / "static"]
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

# -- security -------------------------------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
# A nonce is in the policy of those pages only that use it, as the debug toolbar does.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
SECURE_REFERRER_POLICY = "same-origin"
if ENV.TLS_IN_FRONT:
    # The load balancer ends TLS and says so; without it, anybody could claim it.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = ENV.HSTS_SECONDS
    SECURE_HSTS_INCLUDE_SUBDOMAINS = ENV.HSTS_INCLUDE_SUBDOMAINS
    SECURE_HSTS_PRELOAD = ENV.HSTS_PRELOAD
    # `check --deploy` asks for both, but only some domains can have them.
    SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]
else:
    # HSTS, redirect and Secure cookies: what TLS_IN_FRONT=false knowingly goes without.
    SILENCED_SYSTEM_CHECKS += [f"security.W0{number}" for number in ("04", "08", "12", "16")]

# -- logging --------------------------------------------------------------------------------------

LOGGING = log_config.configure(ENV.LOG_LEVEL, ENV.LOG_FORMAT, batched=ENV.TARGET == "ecs")

# -- dev tools ------------------------------------------------------------------------------------

# INTERNAL_IPS cannot name a container's gateway in advance; DEBUG alone decides.
DEBUG_TOOLBAR_CONFIG = {
    "SHOW_TOOLBAR_CALLBACK": "development.tools.show_toolbar",
    "SHOW_COLLAPSED": True,
}
# A query repeated for every row of another (N+1) is a warning in the log, not an error; few
# repeats are the admin's own way.
ZEAL_RAISE = False
ZEAL_NPLUSONE_THRESHOLD = 10
