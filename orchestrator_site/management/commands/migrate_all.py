"""``manage.py migrate_all``: the tables of the journal and of every target, before anything is started."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS


class Command(BaseCommand):
    """Migrates all databases, the journal first."""

    help = "Make or update the tables of the journal and of every database in TARGET_DATABASES. It may be run again."

    def handle(self, *args: Any, **options: Any) -> None:
        targets = sorted(alias for alias in settings.DATABASES if alias != DEFAULT_DB_ALIAS)
        for alias in (DEFAULT_DB_ALIAS, *targets):
            self.stdout.write(f"Database {alias}")
            call_command("migrate", database=alias, verbosity=options["verbosity"], interactive=False)
