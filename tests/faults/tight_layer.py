"""The site's settings with a channel layer that drops nearly everything."""

from orchestrator_site.settings import *  # noqa: F403

CHANNEL_LAYERS["default"]["CONFIG"]["capacity"] = 1  # noqa: F405
