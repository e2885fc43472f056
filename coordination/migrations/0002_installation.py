"""What makemigrations cannot write: the installation's row, and room for updates in the tables that have many."""

import re
import secrets

from django.conf import settings
from django.db import migrations


def name_installation(apps, schema_editor):
    """Make the one row: the id from COORDINATION_INSTALLATION, or a new one."""
    Installation = apps.get_model("coordination", "Installation")
    rows = Installation.objects.using(schema_editor.connection.alias)
    if not rows.exists():
        wanted = getattr(settings, "COORDINATION_INSTALLATION", "")
        rows.create(id=wanted if re.fullmatch("[0-9a-f]{8}", wanted) else secrets.token_hex(4))


def leave_room(apps, schema_editor):
    """Half of each page stays free, so that a row's new version fits beside the old one and touches no index."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE coordination_branch SET (fillfactor = 50)")
        schema_editor.execute("ALTER TABLE coordination_batch SET (fillfactor = 50)")


class Migration(migrations.Migration):
    dependencies = [("coordination", "0001_initial")]

    operations = [
        migrations.RunPython(name_installation, migrations.RunPython.noop),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
    ]
