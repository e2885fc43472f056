"""The admin: what became of past runs, for staff, who see their own customers' rows and change none of them."""

from django.apps import apps

from coordination.admin import batches, branches, customers, entries, nodes  # noqa: F401  (importing them registers them)

if apps.is_installed("django_celery_results"):
    from coordination.admin import results  # noqa: F401
