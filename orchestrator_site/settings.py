"""Settings of the site: one file, driven by the environment (README, "Settings").

Importing it never fails for want of a variable. What is missing or contradictory is said by the system checks in
`orchestrator_site/checks.py`, in words and with the remedy; web and worker processes refuse to start by the same
checks.
"""

import os
import secrets
from typing import Any

from csp.constants import NONE, SELF

from orchestrator_site import environment
from orchestrator_site.home import home_in

ENVIRONMENT = environment.read()
BASE_DIR = environment.PROJECT
# Without services everything is kept here; with them only what is the process's own.
ORCHESTRATOR_HOME = ENVIRONMENT.home
HOME = home_in(ORCHESTRATOR_HOME) if ENVIRONMENT.embedded else None

# The site and who reaches it.
SECRET_KEY = ENVIRONMENT.secret_key
if HOME is not None and not SECRET_KEY:
    SECRET_KEY = HOME.secret_key or secrets.token_urlsafe(50)  # nobody has been in the home yet: nothing is signed
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)
PUBLIC_URL = ENVIRONMENT.public_url

INSTALLED_APPS = [
    "orchestrator_site.apps.OrchestratorSiteConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_celery_results",
    "csp",
    "servestatic",
    "coordination",
    *ENVIRONMENT.apps,
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "orchestrator_site.urls"
ASGI_APPLICATION = "orchestrator_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "orchestrator_site.context.demo",
            ],
        },
    },
]

# Signing in.
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Language and time: everything is stored and said in UTC unless a template converts it.
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# Databases: the journal is `default`, every other one is a target that branches write to.
def _database(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with what all our connections have in common."""
    if config["ENGINE"] == "django.db.backends.postgresql":
        config = {**config, "OPTIONS": {"connect_timeout": 5, **config.get("OPTIONS", {})}}
    # Under ASGI a request's thread is not kept, so neither is its connection. The node's own threads and the branches'
    # connections are long-lived by themselves, whatever is said here.
    return {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, **config}


DATABASES = {alias: _database(config) for alias, config in ENVIRONMENT.targets.items()}
DATABASES["default"] = _database(ENVIRONMENT.journal) if ENVIRONMENT.journal else {"ENGINE": "django.db.backends.dummy"}
DATABASE_ROUTERS = ["orchestrator_site.routers.SiteRouter"]

# Coordination.
COORDINATION_INSTALLATION = ENVIRONMENT.installation or (HOME.installation if HOME else "")
COORDINATION_DATABASES = {
    alias: {"two_phase": "hold" if alias in ENVIRONMENT.held else "require"} for alias in ENVIRONMENT.targets
}
COORDINATION_HOLD_LIMIT, COORDINATION_MAX_HELD = ENVIRONMENT.hold_limit, ENVIRONMENT.max_held
COORDINATION_BROKER_URL = ENVIRONMENT.amqp_url or "memory://"
COORDINATION_PUBLIC_URL = (HOME and HOME.the_host().get("url")) or PUBLIC_URL
COORDINATION_HOST = "orchestrator_site.embedded.Host" if HOME else ""
# What a killed host had prepared is looked for by its successor only, and people wait for it: each second, not each 5.
COORDINATION_SWEEP_SECONDS = 1 if HOME else 5
COORDINATION_APPS = list(ENVIRONMENT.apps)
COORDINATION_ALERT_URL = ENVIRONMENT.alert_url
COORDINATION_UNRESOLVED_SECONDS = ENVIRONMENT.unresolved_seconds

# Channels.
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # Named for the installation: several may share a Redis.
        "CONFIG": {"hosts": [ENVIRONMENT.redis_url], "prefix": f"cc-{ENVIRONMENT.installation}"},
    }
    if ENVIRONMENT.redis_url
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

# Celery, for the site's own workers. What makes a branch safe is set on our tasks by `coordination`, not here.
CELERY_BROKER_URL = ENVIRONMENT.amqp_url or "memory://localhost//"
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = TIME_ZONE
# Results are for people (the admin shows how each task run ended); no outcome is ever built on one.
CELERY_RESULT_BACKEND = "django-db" if ENVIRONMENT.result_backend == "django-db" else "disabled"
# Celery prefers the variable of that name to any setting: it must find there what we made of it.
os.environ["CELERY_RESULT_BACKEND"] = CELERY_RESULT_BACKEND
CELERY_TASK_IGNORE_RESULT = False
CELERY_TASK_TRACK_STARTED = False
# Remote control is a way for anyone on the broker to stop workers, and its exclusive queue makes a worker exit when it
# comes back over a half-open connection.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
# Once reconnected, Celery would raise its prefetch count again at the end of each task: in a pool of threads by a call
# from the task's thread, which waits for an answer on the socket that the worker reads too, and both may stand still.
CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONSUMER = "orchestrator_site.celery:Consumer"
CELERY_BROKER_HEARTBEAT = 10
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # the default gives up, and the worker exits, after 100
# RabbitMQ closes the channel of a worker that does not acknowledge a task within half an hour. By default the worker
# then exits; now it goes on, and the task, delivered again, finds what its first run has done.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"polling_interval": 0.02}  # seconds; in memory nothing tells a waiting worker that there is a message
    if HOME
    else {"confirm_publish": True, "connect_timeout": 5, "read_timeout": 10, "write_timeout": 10}
)

# Static files: found where the apps keep them, so nothing has to be collected first.
STATIC_URL = "static/"
STATIC_ROOT = ORCHESTRATOR_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_USE_STATIC_ROOT = False
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_ALLOW_ALL_ORIGINS = False

# Security. Nothing inline, nothing from elsewhere, no frames.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the admin's own style sheets draw some icons this way
        "font-src": [SELF],
        "connect-src": [SELF, ENVIRONMENT.websocket_origin],  # older browsers do not count it under 'self'
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENVIRONMENT.secure
if ENVIRONMENT.secure:
    # TLS ends in the proxy in front of us, which must set this header itself and drop the client's.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]  # supervisors ask from inside, without TLS
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
# HSTS is promised for our own host only: its subdomains and the preload list are their owner's to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Logging: sentences, on stderr. In the embedded stack people watch it: two lines a task would hide what they look for.
EMBEDDED_LOGGERS: dict[str, Any] = (
    {"celery": {"level": "WARNING"}, "celery.app.trace": {"filters": ["errors_of_batches"]}} if HOME else {}
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"errors_of_batches": {"()": "orchestrator_site.quiet.ErrorsOfBatches"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": ENVIRONMENT.log_level},
    "loggers": {
        # Django's own handlers would say each of these a second time.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        # One line a connection and frame is no use to anybody at INFO.
        "aio_pika": {"level": "WARNING"},
        "aiormq": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
        **EMBEDDED_LOGGERS,
    },
}
