"""The site as a Django app, so that its checks are found."""

from django.apps import AppConfig


class OrchestratorSiteConfig(AppConfig):
    """Registers the site's system checks."""

    name = "orchestrator_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from orchestrator_site import checks  # noqa: F401  (importing it registers them)
