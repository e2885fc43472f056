"""Which tables belong in which database."""

from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS


class SiteRouter:
    """The journal and everything of Django's live in `default`; what `COORDINATION_APPS` bring lives in the targets.

    The demo's tables go only to targets named `demo_…`; other apps' tables go to every target.
    Reads and writes are left alone: a task says with `using=db` where it writes.
    """

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """Whether the tables of the app `app_label` may be made in the database `db`."""
        if app_label not in {name.rpartition(".")[2] for name in settings.COORDINATION_APPS}:
            return db == DEFAULT_DB_ALIAS
        if app_label == "demo":
            return db.startswith("demo_")
        return db != DEFAULT_DB_ALIAS
