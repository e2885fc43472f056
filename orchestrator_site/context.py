"""What every template may say."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def demo(request: HttpRequest) -> dict[str, Any]:
    """`demo_home`: the folder in which the embedded stack keeps its data; empty where real services are used."""
    return {"demo_home": str(settings.ORCHESTRATOR_HOME) if settings.ENVIRONMENT.embedded else ""}
