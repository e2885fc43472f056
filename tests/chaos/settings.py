"""The site's settings, with a lock timeout that lets two batches that wait for each other go on within seconds."""

from orchestrator_site.settings import *  # noqa: F403

COORDINATION_LOCK_TIMEOUT = 3
