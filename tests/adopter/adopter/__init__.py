from adopter.celery import app

__all__ = ["app"]
