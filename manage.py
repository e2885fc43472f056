#!/usr/bin/env python
"""Run one of Django's or our own commands: `manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; without services, in the home."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    try:
        from django.core.management import execute_from_command_line

        from orchestrator_site import entering
    except ImportError as error:
        raise SystemExit(
            f"{error}. Install the requirements (pip install -r requirements.txt) and run me with that Python."
        ) from error
    sys.exit(entering.run(sys.argv, execute_from_command_line))


if __name__ == "__main__":
    main()
