"""The stream of batches: launches and cancellations, each recorded as ok, failed or unknown; and the decisions seen."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from tests.chaos.plan import Batch
from tests.services import Site

TRIES = 5
"""How often a launch whose outcome is unknown is asked for again, with the same key."""


@dataclass
class Operation:
    """One launch: ``result`` is ok (``id`` names the batch), failed (nothing was recorded) or unknown."""

    batch: Batch
    result: str
    id: UUID | None = None
    asked: int = 1
    cancelled: bool = False
    problem: str = ""


@dataclass
class Stream:
    """Launches batches from a thread, and cancels some. Goes straight to the journal, as a program of a user would."""

    operations: list[Operation] = field(default_factory=list)
    _cancels: list[tuple[float, Operation]] = field(default_factory=list)

    def run(self, batches: tuple[Batch, ...], began: float, ending: threading.Event) -> None:
        """Launch each in its second after ``began`` (monotonic) until ``ending``; later where a launch took long."""
        for batch in batches:
            while (left := began + batch.at - time.monotonic()) > 0:
                self._cancel_what_is_due()
                if ending.wait(min(left, 0.1)):
                    return
            operation = _launch(batch)
            self.operations.append(operation)
            if batch.cancel_after is not None and operation.id is not None:
                self._cancels.append((time.monotonic() + batch.cancel_after, operation))
        self._cancel_what_is_due(all=True)

    def _cancel_what_is_due(self, *, all: bool = False) -> None:
        for due in [each for each in self._cancels if all or each[0] <= time.monotonic()]:
            self._cancels.remove(due)
            due[1].cancelled = _cancel(due[1].id)


def _launch(batch: Batch) -> Operation:
    from django.db import InterfaceError, OperationalError, connections

    from coordination.api import CoordinationError, launch

    params: dict[str, Any] = {}
    if batch.plan == "load":
        params = {"tasks": batch.tasks, "fail_at": batch.fail_at, "seconds": batch.seconds}
    problem = ""
    for asked in range(1, TRIES + 1):
        try:
            launched = launch(batch.customer, batch.plan, params, idempotency_key=batch.key, by="chaos")
            return Operation(batch, "ok", launched.id, asked)
        except (OperationalError, InterfaceError) as error:
            problem = str(error).strip()
            time.sleep(0.5)
        except CoordinationError as error:
            return Operation(batch, "failed", None, asked, problem=str(error))
        finally:
            connections["default"].close()
    return Operation(batch, "unknown", None, TRIES, problem=problem)


def _cancel(batch: UUID | None) -> bool:
    from django.db import InterfaceError, OperationalError, connections

    from coordination.journal import requests

    assert batch is not None
    try:
        requests.cancel(batch, by="chaos")
    except (OperationalError, InterfaceError):
        return False
    finally:
        connections["default"].close()
    return True


class Decisions:
    """Looks at the journal again and again, and remembers each decision that it has seen: none may ever change."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self.seen: dict[UUID, str] = {}
        self.changed: list[str] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look a last time."""
        self._ending.set()
        self._thread.join(20)
        self.look()

    def look(self) -> None:
        """Once. Raises psycopg.Error when the journal is away."""
        for batch, decision in self._site.query("default", "SELECT id, decision FROM coordination_batch"):
            before = self.seen.get(batch)
            if before is not None and before != decision:
                self.changed.append(f"batch {batch} was decided {before}, and then {decision}")
            if decision is not None:
                self.seen[batch] = decision

    def _run(self) -> None:
        while not self._ending.wait(0.3):
            try:
                self.look()
            except psycopg.Error:
                continue  # The journal is away; it is looked at again.
