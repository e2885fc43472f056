"""Keeping secrets off screens: values whose key says that they are one, and passwords in addresses.

A value without a key (a positional argument of a task) cannot be told from any other: pass secrets by name, or
better the name of a secret instead of the secret.
"""

import json
import re
from itertools import pairwise
from typing import Any

HIDDEN = "••••••"

MOST = 4096
"""Characters of a value that a screen shows; of one text within it a quarter of that, so that the others are seen."""

_SECRET = re.compile(
    r"pass(word|wd|phrase|code)?s?|pwd|pw|secrets?|tokens?|credentials?|auth|authorization|cookies?"
    r"|(api|access|private|secret|signing|encryption)?keys?|bearer|dsn|pin"
)
_KEYS_THAT_ARE_NOT = {"key", "keys"}  # by itself a key is a name, such as an idempotency key
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PASSWORD_IN_ADDRESS = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Whether a value of that name is kept off screens: ``db_password``, ``apiKey``, ``AUTH-TOKEN``."""
    parts = [part.lower() for part in _PARTS.findall(key)]
    pairs = [first + second for first, second in pairwise(parts)]
    return any(_SECRET.fullmatch(part) and part not in _KEYS_THAT_ARE_NOT for part in [*parts, *pairs])


def redacted(value: Any) -> Any:
    """``value`` (plain JSON) with its secrets hidden, at any depth."""
    if isinstance(value, dict):
        return {key: HIDDEN if is_secret(str(key)) and part else redacted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [redacted(part) for part in value]
    return _PASSWORD_IN_ADDRESS.sub(rf"\g<before>{HIDDEN}", value) if isinstance(value, str) else value


def shortened(value: Any, most: int) -> Any:
    """``value`` with each text in it cut to ``most`` characters."""
    if isinstance(value, dict):
        return {key: shortened(part, most) for key, part in value.items()}
    if isinstance(value, list):
        return [shortened(part, most) for part in value]
    return cut(value, most) if isinstance(value, str) else value


def cut(text: str, most: int) -> str:
    """``text``, or its beginning and how much is not shown."""
    return text if len(text) <= most else f"{text[:most]}… and {len(text) - most:,} characters more"


def shown(value: Any) -> str:
    """``value`` as a screen shows it: indented JSON without secrets, cut where it gets long; empty for nothing."""
    if not value:
        return ""
    return cut(json.dumps(shortened(redacted(value), MOST // 4), indent=2, ensure_ascii=False), MOST)
