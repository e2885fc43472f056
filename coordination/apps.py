"""The Django app."""

from django.apps import AppConfig


class CoordinationConfig(AppConfig):
    """Registers checks, finds plans, and starts the agent in worker processes."""

    name = "coordination"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from coordination import checks  # noqa: F401  (importing it registers them)
        from coordination.participant import lifecycle

        lifecycle.connect_signals()
