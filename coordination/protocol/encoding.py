"""Messages on the wire: versioned JSON, bounded, validated on arrival.

``encode`` and ``decode`` are the only way in or out; never pickle. What a message may hold is read off the dataclasses
of :mod:`.messages`, once a class.
"""

import dataclasses
import json
from collections.abc import Callable
from math import isfinite
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from .messages import (
    MAX_REASON,
    Decided,
    Held,
    Inquire,
    Message,
    Order,
    Resolved,
    Started,
    StillHeld,
    Stop,
    Votes,
    Withdrawn,
)
from .states import Decision, Kind, Outcome

VERSION = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_ITEMS = 2_000
"""Senders split what is longer; a receiver refuses it."""
MAX_TEXT = 16_384
"""Characters of any one string: a sender cuts tracebacks to ``MAX_TRACEBACK``, so nothing honest is longer."""

type_names: dict[str, type] = {
    "started": Started,
    "vote": Votes,
    "withdrawn": Withdrawn,
    "resolved": Resolved,
    "held": Held,
    "decision": Decided,
    "order": Order,
    "inquire": Inquire,
    "still_held": StillHeld,
    "stop": Stop,
}
_names = {cls: name for name, cls in type_names.items()}


class MessageError(ValueError):
    """The message is not one this version understands. It is set aside; sending it again will not help."""


def encode(message: Message) -> bytes:
    """``message`` as JSON. Raises MessageError if it is longer than a receiver would take."""
    body = {"v": VERSION, "type": _names[type(message)], **_plain(message)}
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise MessageError(f"a {body['type']} message of {len(data):,} bytes is over {MAX_BYTES:,}: split its items")
    return data


def decode(data: bytes) -> Message:
    """The message in ``data``. Raises MessageError saying what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise MessageError(f"message of {len(data):,} bytes is over {MAX_BYTES:,}")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise MessageError("not a JSON object")
    if body.get("v") != VERSION:
        raise MessageError(f"version {str(body.get('v'))[:20]!r}, this is {VERSION}")
    name = body.get("type")
    cls = type_names.get(name) if isinstance(name, str) else None
    if cls is None:
        raise MessageError(f"unknown type {str(name)[:40]!r}")
    message: Message = _read_object(cls, {k: v for k, v in body.items() if k not in ("v", "type")}, cls.__name__)
    return message


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {name: _plain(v) for name in _fields(type(value)) if (v := getattr(value, name)) is not None}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, UUID):
        return value.hex
    return value


def _fields(cls: type) -> "dict[str, tuple[Callable[[Any, str], Any], bool]]":
    """Field name → (reader, required), worked out once a class."""
    known = _readers.get(cls)
    if known is None:
        hints = get_type_hints(cls)
        known = _readers[cls] = {
            f.name: (_reader(hints[f.name]), f.default is dataclasses.MISSING) for f in dataclasses.fields(cls)
        }
    return known


_readers: dict[type, dict[str, tuple[Callable[[Any, str], Any], bool]]] = {}


def _read_object(cls: type, body: Any, where: str) -> Any:
    if not isinstance(body, dict):
        raise MessageError(f"{where}: not an object")
    values = {}
    fields = _fields(cls)
    for name, (read, required) in fields.items():
        if name in body:
            values[name] = read(body[name], f"{where}.{name}")
        elif required:
            raise MessageError(f"{where}: {name} is missing")
    if len(values) != len(body):
        raise MessageError(f"{where}: unknown field {str(min(set(body) - set(fields)))[:40]!r}")
    return cls(**values)


def _reader(hint: Any) -> Callable[[Any, str], Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = _reader(next(a for a in args if a is not type(None)))
        return lambda v, where: None if v is None else inner(v, where)
    if origin is tuple:
        return _tuple_reader(_reader(args[0]))
    if origin is dict:
        return _read_evidence
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda v, where: _read_object(hint, v, where)
    if hint in (Decision, Kind, Outcome):
        return _enum_reader(hint)
    return {str: _read_text, int: _read_count, UUID: _read_uuid}[hint]


def _tuple_reader(inner: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise MessageError(f"{where}: not a list of at most {MAX_ITEMS}")
        return tuple(inner(v, where) for v in value)

    return read


def _enum_reader(enum: Any) -> Callable[[Any, str], Any]:
    def read(value: Any, where: str) -> Any:
        try:
            return enum(value)
        except ValueError:
            raise MessageError(f"{where}: {str(value)[:40]!r} is none of {[e.value for e in enum]}") from None

    return read


def _read_text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise MessageError(f"{where}: not a text of at most {MAX_TEXT} characters")
    if not _storable(value):
        raise MessageError(f"{where}: holds a NUL character or half a surrogate pair")
    return value


def _storable(text: str) -> bool:
    """Whether the journal takes ``text``: what it would refuse must not get that far, or it comes again for ever."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_count(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise MessageError(f"{where}: not a whole number from 0 to 2^31")
    return value


def _read_uuid(value: Any, where: str) -> UUID:
    try:
        return UUID(hex=value) if isinstance(value, str) and len(value) == 32 else UUID(hex="")
    except ValueError:
        raise MessageError(f"{where}: not 32 hex digits") from None


def _read_evidence(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > 20:
        raise MessageError(f"{where}: not an object of at most 20 entries")
    for key, item in value.items():
        if (
            not isinstance(item, str | int | float | bool | None)
            or (isinstance(item, float) and not isfinite(item))
            or len(key) + len(str(item)) > MAX_REASON
            or not _storable(f"{key}{item}")
        ):
            raise MessageError(f"{where}: {key[:40]!r} is not a short plain value")
    return value
