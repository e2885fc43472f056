"""The Django app."""

from django.apps import AppConfig


class CoordinationConfig(AppConfig):
    """Registers checks, finds plans, and starts the agent in worker processes."""

    name = "coordination"
    default_auto_field = "django.db.models.BigAutoField"
