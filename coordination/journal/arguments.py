"""What of a request goes into the journal as JSON: plain, bounded, and something PostgreSQL's jsonb takes."""

import json
from typing import Any

MAX_BYTES = 64 * 1024


class NotPlain(ValueError):
    """The value is not plain JSON; the message says what about it."""


def dump(value: Any) -> str:
    """``value`` as JSON text. Raises NotPlain."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotPlain(str(error)[:200]) from None
    if "\\u0000" in text and _has_nul(value):
        raise NotPlain("a text holds a NUL character")
    return text


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(k) or _has_nul(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(_has_nul(v) for v in value)
