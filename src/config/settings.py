"""Settings of both targets, which differ only in their environment (twelve-factor III).

environment/contract.py declares the variables. The order follows Django's list of settings:
https://docs.djangoproject.com/en/6.1/ref/settings/
"""

from importlib.util import find_spec
from pathlib import Path

from django.utils.csp import CSP

from backends.database import request_settings
from background.schedules import MCP_SCHEDULES, SCHEDULES
from environment.reading import load_or_exit
from environment.services import mailer_settings
from oauth.provider import provider_settings
from serving import log_config

ENV = load_or_exit()
SRC = Path(__file__).resolve().parent.parent

# -- core -----------------------------------------------------------------------------------------

DEBUG = ENV.DEBUG
SECRET_KEY = ENV.SECRET_KEY
SECRET_KEY_FALLBACKS = ENV.SECRET_KEY_FALLBACKS
ALLOWED_HOSTS = ENV.ALLOWED_HOSTS
CSRF_TRUSTED_ORIGINS = ENV.CSRF_TRUSTED_ORIGINS

# Longer request bodies get 413 (serving.request_body). The limit must allow the largest upload.
REQUEST_BODY_MAX_BYTES = 10 * 2**20

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"
# Paths, as ("/events/",), whose asynchronous views wait for long before they respond. Views below
# them run in Django's own ASGI handler instead of the thread pool (serving.asgi_handler).
ASYNC_PATH_PREFIXES: tuple[str, ...] = ()
# ASGI applications beside Django, such as MCP servers: import paths by path prefix. serving.mounts
# serves them; the longest prefix wins.
ASGI_MOUNTS: dict[str, str] = {}
if ENV.MCP_HUB:
    ASGI_MOUNTS["/mcp"] = "mcp_hub.hub.application"

# Only the dev image has the dev tools, and they need DEBUG.
DEV_TOOLS = DEBUG and find_spec("debug_toolbar") is not None

INSTALLED_APPS = [
    # First, so that it replaces Django's reloader.
    *(["django_watchfiles"] if DEV_TOOLS else []),
    # Before Django's apps, whose migrate and runserver they override.
    "environment",
    "backends",
    *(["development"] if ENV.TARGET == "dev" else []),
    "accounts",
    "home",
    "background",
    "django_ox",
    # Its admin changes what the library's registers.
    *(["oauth", "oauth2_provider"] if ENV.MCP_HUB else []),
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
    "serving.static_files.StaticFilesMiddleware",
    # Outside the middleware that adds scripts, so that it sees whether a page uses its nonce.
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
            # The site works without Redis: it neither waits for Redis nor retries.
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_FACTORY": "backends.cache.SharedClientFactory",
            "CONNECTION_POOL_CLASS": "backends.cache.CircuitBreakerPool",
            "SOCKET_CONNECT_TIMEOUT": ENV.REDIS_TIMEOUT,
            "SOCKET_TIMEOUT": ENV.REDIS_TIMEOUT,
        },
    }
}

# In Redis and in PostgreSQL, so that users stay signed in while Redis is down.
SESSION_ENGINE = "backends.sessions"

# Without EMAIL_URL the ecs target has no mailer, and sending raises MailerDoesNotExist: mail in a
# log would expose the links that reset passwords.
MAILERS = mailer_settings(ENV)
SILENCED_SYSTEM_CHECKS = ["mail.W001"]  # accounts.W001 reports it in `check --deploy`
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
            # Seconds until another worker may run the tasks of a killed one. Live workers renew.
            "LOCK_TIMEOUT": 30,
            # Seconds that a task may take.
            "TASK_TIMEOUT": 20,
            # Seconds after TASK_TIMEOUT until the worker exits, if the task ignores the limit. Both
            # together are less than ECS's stopTimeout (30), so a deployment kills no task.
            "TASK_TIMEOUT_GRACE": 5,
            "SCHEDULES": SCHEDULES | (MCP_SCHEDULES if ENV.MCP_HUB else {}),
        },
    }
}

# -- accounts -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "accounts.auth_backend.LockoutBackend",
    # Sessions that are older than LockoutBackend name this one.
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "accounts.hashers.Argon2",
    # For older hashes, which are replaced when their user signs in.
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

# -- sign-in of MCP clients: docs/mcp.md ----------------------------------------------------------

OAUTH2_PROVIDER = provider_settings(ENV)
# http redirects are allowed to the user's own computer only (oauth.validator).
SILENCED_SYSTEM_CHECKS += ["oauth2_provider.W008"]

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
# In dev nothing runs collectstatic, so the files come from the apps.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG

# -- security -------------------------------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
# Django adds the nonce to the policy only when a page uses it, as the debug toolbar does.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
if ENV.TLS_IN_FRONT:
    # Only behind a load balancer, which sets this header: otherwise any client could send it.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = ENV.HSTS_SECONDS
    SECURE_HSTS_INCLUDE_SUBDOMAINS = ENV.HSTS_INCLUDE_SUBDOMAINS
    SECURE_HSTS_PRELOAD = ENV.HSTS_PRELOAD
    # `check --deploy` asks for both, but only some domains can have them.
    SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]
else:
    # TLS_IN_FRONT=false turns off HSTS, the redirect and Secure cookies on purpose.
    SILENCED_SYSTEM_CHECKS += [f"security.W0{number}" for number in ("04", "08", "12", "16")]

# -- logging --------------------------------------------------------------------------------------

LOGGING = log_config.configure(ENV.LOG_LEVEL, ENV.LOG_FORMAT, batched=ENV.TARGET == "ecs")

# -- dev tools ------------------------------------------------------------------------------------

# A container's gateway has no fixed address for INTERNAL_IPS, so DEBUG alone decides.
DEBUG_TOOLBAR_CONFIG = {
    "SHOW_TOOLBAR_CALLBACK": "development.tools.show_toolbar",
    "SHOW_COLLAPSED": True,
}
# Log N+1 queries as warnings instead of raising. The admin itself repeats a query a few times.
ZEAL_RAISE = False
ZEAL_NPLUSONE_THRESHOLD = 10
