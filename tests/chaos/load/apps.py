"""The app's configuration; in a run that tests the checker it breaks the process that loads it."""

import os

from django.apps import AppConfig


class LoadConfig(AppConfig):
    """``CHAOS_DEFECT`` names the one rule that this process is to break (:mod:`tests.chaos.defects`)."""

    name = "tests.chaos.load"

    def ready(self) -> None:
        """Put the defect in, if there is to be one."""
        if name := os.environ.get("CHAOS_DEFECT"):
            from tests.chaos import defects

            defects.put_in(name)
