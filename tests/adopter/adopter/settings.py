"""A project like many: its own database, a ledger for each of its customers, Celery over RabbitMQ."""

import os
from pathlib import Path
from urllib.parse import urlsplit


def _postgresql(url):
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
    }


SECRET_KEY = "only for a test"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "chores"]
DATABASES = {
    "default": _postgresql(os.environ["ADOPTER_DATABASE"]),
    "acme_ledger": _postgresql(os.environ["ADOPTER_ACME"]),
    "globex_ledger": _postgresql(os.environ["ADOPTER_GLOBEX"]),
}
DATABASE_ROUTERS = ["adopter.routers.LedgerRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = os.environ["ADOPTER_BROKER"]
CELERY_TASK_DEFAULT_QUEUE = "adopters-own"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

FILES = Path(os.environ["ADOPTER_FILES"])

# All that was added to use coordination.
if os.environ.get("ADOPTER_WITHOUT_COORDINATION") != "1":
    INSTALLED_APPS += ["coordination", "loads"]
    COORDINATION_INSTALLATION = "ad0b7e12"
    COORDINATION_DATABASES = {"acme_ledger": {"two_phase": "require"}, "globex_ledger": {"two_phase": "require"}}
