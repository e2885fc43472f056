"""The site's settings, for one process that is node and worker at once, over memory:// and without Redis."""

from orchestrator_site.settings import *  # noqa: F403

COORDINATION_BROKER_URL = CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.02}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
LOGGING["loggers"]["celery"] = {"level": "WARNING"}  # type: ignore[index]  # noqa: F405
