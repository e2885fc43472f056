"""All-or-nothing commits for batches of Celery tasks. Public names are in :mod:`coordination.api`."""

__version__ = "0.1.0"
