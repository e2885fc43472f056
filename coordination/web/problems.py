"""What went wrong in a batch, grouped: two thousand failures are often three errors."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from coordination.models import Batch
from coordination.protocol.states import BranchState
from coordination.redact import redacted
from coordination.web.tasks import how_of
from coordination.web.words import WRONG

MOST = 5_000
"""Errors that are looked at: the first ones by task number."""
SAMPLES = 8
"""Tasks that a group names."""

_VARYING = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b0x[0-9a-fA-F]+\b|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"
    r"|\d+(?:[.,:]\d+)*"
)
_FRAME = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_INSTALLED = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3[^/\\]*)[/\\]")


@dataclass(kw_only=True)
class Group:
    """Errors of one class, with the same words but for numbers and ids, raised at the same place."""

    type: str
    words: str
    frame: str
    message: str
    traceback: str
    count: int = 0
    samples: list[int] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    @property
    def more(self) -> int:
        """Tasks of it that are not named."""
        return self.count - len(self.samples)


@dataclass(frozen=True, kw_only=True)
class Problems:
    """A batch's groups, the largest first, and how many errors are in them; ``cut``: there are more."""

    groups: list[Group]
    errors: int
    cut: bool


def problems(batch: Batch) -> Problems:
    """What failed tasks said, and those that ended against the decision, grouped."""
    wrong = batch.branches.filter(state__in=WRONG).order_by("number")
    rows = wrong.values("number", "state", "error", "how", "finished")[: MOST + 1]
    groups: dict[tuple[str, str, str], Group] = {}
    seen = 0
    for row in rows.iterator(500):
        seen += 1
        if seen <= MOST:
            _add(groups, row)
    ordered = sorted(groups.values(), key=lambda group: (-group.count, group.samples[0]))
    return Problems(groups=ordered, errors=min(seen, MOST), cut=seen > MOST)


def _add(groups: dict[tuple[str, str, str], Group], row: Any) -> None:
    error = row["error"] or {}
    message = str(redacted(error.get("message") or how_of(BranchState(row["state"]), row["how"]) or ""))
    trace = str(error.get("traceback") or "")
    kind, words, frame = str(error.get("type") or ""), normalised(message), top_frame(trace)
    group = groups.get((kind, words, frame))
    if group is None:
        group = groups[kind, words, frame] = Group(
            type=kind, words=words, frame=frame, message=message, traceback=str(redacted(trace))
        )
    group.count += 1
    if len(group.samples) < SAMPLES:
        group.samples.append(row["number"])
    if row["finished"] is not None:
        group.first = min(group.first or row["finished"], row["finished"])
        group.last = max(group.last or row["finished"], row["finished"])


def normalised(message: str) -> str:
    """``message`` with "…" for what differs between two of the same kind: numbers, ids, addresses."""
    return _VARYING.sub("…", message)


def top_frame(traceback: str) -> str:
    """Where the author's own code raised it, as ``file:line in function``; empty if the traceback does not say.

    That is the last frame outside of installed packages, or the last one if all are inside.
    """
    frames = list(_FRAME.finditer(traceback))
    own = [frame for frame in frames if not _INSTALLED.search(frame["file"])]
    if not frames:
        return ""
    frame = (own or frames)[-1]
    file = "/".join(re.split(r"[/\\]", frame["file"])[-2:])
    return f"{file}:{frame['line']} in {frame['function']}"
