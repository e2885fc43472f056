"""Parameters of a plan as commands take them: ``--param NAME=VALUE`` and ``--params FILE``."""

import json
import sys
from pathlib import Path
from typing import Any

from coordination.errors import BadParameters


def parameters(file: str | None, pairs: list[str]) -> dict[str, Any]:
    """What ``--params`` has, with each ``--param`` put over it. Raises BadParameters."""
    return (_read(file) if file else {}) | typed(pairs)


def typed(pairs: list[str]) -> dict[str, Any]:
    """What was given as ``--param NAME=VALUE``; several values of one name are a list. Raises BadParameters."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadParameters(problem=f"--param {pair!r} is not NAME=VALUE.")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _read(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        given = json.loads(text)
    except OSError as error:
        raise BadParameters(problem=f"{file}: {error.strerror}.") from error
    except ValueError as error:
        raise BadParameters(problem=f"{file} is not JSON ({error}).") from error
    if not isinstance(given, dict):
        raise BadParameters(problem=f"{file} is not a JSON object.")
    return given
