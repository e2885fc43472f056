"""``manage.py unresolved``: what a person should look at, for cron."""

import argparse
import json
from typing import Any

from coordination.journal import attention, queries
from coordination.journal.attention import Trouble
from coordination.management.base import Command as OurCommand
from coordination.management.base import Exit, Failed
from coordination.models import Batch, Node
from coordination.redact import redacted


class Command(OurCommand):
    """Lists what needs attention; exits 1 if there is anything, so that cron sends it by mail."""

    help = (
        "List what needs attention, as the page /attention/ does: batches that ended mixed and are not put right, "
        "that are decided and not finished for a minute, past their deadline and undecided, or without a worker for a "
        "minute; and managers that went silent. Exits 0 if there is nothing, 1 if there is anything or the journal "
        "cannot be reached."
    )
    remedy = "Whether anything needs attention is unknown."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        troubles, nodes = attention.troubles(Batch.objects.all(), named=None), attention.silent_nodes()
        if options["json"]:
            said = {"batches": [_batch(one) for one in troubles], "nodes": [_node(node) for node in nodes]}
            self.stdout.write(json.dumps(said, ensure_ascii=False))
        else:
            for one in troubles:
                batch = one.batch
                self.stdout.write(
                    f"{one.matter.upper():<10}  {batch.pk}  {batch.customer.slug}  {batch}  "
                    f"since {one.since:%Y-%m-%d %H:%M:%S}Z  {redacted(one.words)}"
                )
            for node in nodes:
                self.stdout.write(f"SILENT      manager {node}  not heard of since {node.heartbeat:%Y-%m-%d %H:%M:%S}Z")
        if troubles or nodes:
            count = len(troubles) + len(nodes)
            raise Failed(Exit.JOURNAL_UNREACHABLE, f"{count} need attention", said=True)


def _batch(one: Trouble) -> dict[str, Any]:
    """As :func:`queries.outline`, and what is the matter."""
    return {
        **queries.outline(queries.status_of(one.batch)),
        "label": one.batch.label,
        "matter": one.matter.value,
        "since": one.since.isoformat(),
        "tasks": list(one.tasks),
        "words": redacted(one.words),
    }


def _node(node: Node) -> dict[str, Any]:
    return {"name": node.name, "heard_at": node.heartbeat.isoformat()}
