"""Names of prepared transactions: ``cc_<installation>_<batch>_<branch>_<round>-<token>``.

A gid names one execution of one branch, and no other: its token is 64 random bits, because the same name used
twice breaks atomicity. Only this module builds a gid or reads batch and branch out of it; to everyone else it is
opaque. It stays under PostgreSQL's 200 bytes, and splits into an XA gtrid and bqual of at most 64 bytes each.
"""

import re
from dataclasses import dataclass
from uuid import UUID

_SHAPE = re.compile(r"cc_([0-9a-f]{8})_([0-9a-f]{32})_(\d{1,9})_(\d{1,4})-([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class GidParts:
    """What a gid says of itself."""

    installation: str
    batch: UUID
    branch: int
    round: int
    token: str


def build(*, installation: str, batch: UUID, branch: int, round: int, token: str) -> str:
    """The gid of one execution. ``token`` is 16 hex digits drawn afresh for it.

    Raises ValueError when a part has the wrong form: a gid that nobody could read back must never be prepared.
    """
    gid = f"cc_{installation}_{batch.hex}_{branch}_{round}-{token}"
    if not _SHAPE.fullmatch(gid):
        raise ValueError(f"{gid!r}: installation must be 8 hex digits, token 16, branch and round whole numbers")
    return gid


def parse(gid: str) -> GidParts | None:
    """The parts of ``gid``, or None if this project did not name it."""
    match = _SHAPE.fullmatch(gid)
    if match is None:
        return None
    installation, batch, branch, round_, token = match.groups()
    return GidParts(installation=installation, batch=UUID(batch), branch=int(branch), round=int(round_), token=token)


def installation_prefix(installation: str) -> str:
    """What every gid of ``installation`` (8 hex digits) begins with: the sweep's filter."""
    return f"cc_{installation}_"


def branch_prefix(*, installation: str, batch: UUID, branch: int) -> str:
    """What every gid of one branch begins with: the filter of the question "already prepared?"."""
    return f"cc_{installation}_{batch.hex}_{branch}_"
