"""The site's settings, for a worker whose tasks do not wait long for a lock."""

from orchestrator_site.settings import *  # noqa: F403

COORDINATION_LOCK_TIMEOUT = 1
