"""Alerts in the journal: each matter is raised once, whichever node sees it first, and sent until it has arrived."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.functions import Now
from django.utils import timezone

from coordination import conf
from coordination.journal import attention, queries
from coordination.journal.attention import Matter
from coordination.models import Alert, Batch
from coordination.redact import redacted

RECENT = timedelta(days=1)
"""A batch that ended mixed longer ago is not told of any more: nobody was there to tell it in time."""


@dataclass(frozen=True, kw_only=True)
class Raised:
    """An alert, as it is logged and sent."""

    id: int
    kind: str
    words: str
    batch: str | None
    body: dict[str, Any]


def raise_new(node: str) -> list[Raised]:
    """Raise what is not raised yet; what comes back is this caller's to say. ``node`` does not speak of itself."""
    found: list[Raised] = []
    batches = Batch.objects.using(DEFAULT_DB_ALIAS)
    for matter, kind in ((Matter.MIXED, Alert.Kind.MIXED), (Matter.UNRESOLVED, Alert.Kind.UNRESOLVED)):
        fresh = batches.filter(attention.what(matter)).exclude(alerts__kind=kind)
        if matter is Matter.MIXED:
            fresh = fresh.filter(ended__gt=Now() - RECENT)
        if fresh.exists():
            for trouble in attention.troubles(fresh):
                batch = trouble.batch
                words = f"Batch {batch} ({batch.pk}) of {batch.customer.name}: {trouble.words}"
                found += _raise(kind, str(batch.pk), words, batch)
    for silent in attention.silent_nodes():
        if silent.name != node:
            heard = f"{silent.heartbeat:%Y-%m-%d %H:%M:%S}"
            words = f"Manager {silent.name} has not been heard of since {heard} UTC. Others take its batches over."
            found += _raise(Alert.Kind.SILENT_NODE, f"{silent.name} {heard}", words, None)
    return found


def _raise(kind: Alert.Kind, subject: str, words: str, batch: Batch | None) -> list[Raised]:
    """The alert, if nobody has raised it before."""
    words = str(redacted(words))
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "INSERT INTO coordination_alert (kind, subject, batch_id, words, at, tries, next_try)"
            " VALUES (%s, %s, %s, %s, clock_timestamp(), 0, CASE WHEN %s THEN clock_timestamp() END)"
            " ON CONFLICT (kind, subject) DO NOTHING RETURNING id",
            [kind.value, subject, batch.pk if batch else None, words, bool(conf.alert_url())],
        )
        row = cursor.fetchone()
    made = _read(row[0]) if row else None
    return [made] if made else []


def _read(alert: int) -> Raised | None:
    """None if it was deleted meanwhile, with its batch."""
    found = Alert.objects.using(DEFAULT_DB_ALIAS).select_related("batch__customer").filter(pk=alert).first()
    return _raised(found) if found else None


def _raised(alert: Alert) -> Raised:
    batch = alert.batch
    body = {
        "version": 1,
        "id": alert.pk,
        "kind": alert.kind,
        "text": alert.words,
        "at": alert.at.isoformat(),
        "installation": conf.installation(),
        "customer": batch.customer.slug if batch else None,
        "batch": str(batch.pk) if batch else None,
        "url": queries.url(queries.status_of(batch)) if batch else None,
    }
    return Raised(
        id=alert.pk, kind=alert.kind, words=alert.words, batch=str(batch.pk) if batch else None, body=body
    )


def take_due(pauses: tuple[float, ...]) -> Raised | None:
    """An alert that is to be sent now, and is this caller's until it is due again, ``pauses`` seconds later."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE coordination_alert SET tries = tries + 1,"
            " next_try = clock_timestamp() + make_interval(secs => (%s::float8[])[least(tries + 1, %s)])"
            " WHERE id = (SELECT id FROM coordination_alert WHERE next_try <= clock_timestamp()"
            " ORDER BY next_try LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id",
            [list(pauses), len(pauses)],
        )
        row = cursor.fetchone()
    return _read(row[0]) if row else None


def arrived(alert: int) -> None:
    """It was taken by whoever it was sent to."""
    Alert.objects.using(DEFAULT_DB_ALIAS).filter(pk=alert).update(sent=timezone.now(), next_try=None)


def failed(alert: int, tries: int) -> bool:
    """It was not taken; True if that was the last of ``tries``, and it is given up."""
    given_up = Alert.objects.using(DEFAULT_DB_ALIAS).filter(pk=alert, tries__gte=tries, next_try__isnull=False)
    return given_up.update(next_try=None) > 0
