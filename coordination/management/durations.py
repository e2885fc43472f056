"""Durations as people type and read them: ``90``, ``90s``, ``15m``, ``1h30m``, ``2d``; "1 h 30 min"."""

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> timedelta:
    """``text`` as a length of time; a bare number is seconds. Raises ValueError saying how to write one."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a length of time; write 90s, 15m, 1h30m or 2d")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def typed(length: timedelta) -> str:
    """``length``, of whole seconds, as it would be typed: "1h30m"."""
    return "".join(f"{number}{unit}" for number, unit in _parts(length))


def in_words(length: timedelta) -> str:
    """``length``, of whole seconds, as it is read: "1 h 30 min"."""
    return " ".join(f"{number} {'min' if unit == 'm' else unit}" for number, unit in _parts(length))


def _parts(length: timedelta) -> list[tuple[int, str]]:
    left, parts = round(length.total_seconds()), []
    for unit in ("d", "h", "m", "s"):
        number, left = divmod(left, _SECONDS[unit])
        if number:
            parts.append((number, unit))
    return parts or [(0, "s")]
