#!/usr/bin/env python
"""Run one of Django's or our own commands: `manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            f"{error}. Install the requirements (pip install -r requirements.txt) and run me with that Python."
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
