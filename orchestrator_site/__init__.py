"""The site: one Django project that runs the product as it is, configured by its environment alone."""

from orchestrator_site.celery import app as celery_app

__all__ = ["celery_app"]
