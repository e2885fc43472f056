"""The journal: the durable record that everything else is a copy of.

Launch inserts a batch with its branches; after that only the manager that holds the batch's epoch changes their
state (:mod:`coordination.journal.writer`). People act through :class:`OperatorRequest` rows. Participants never
touch any of it. The journal lives in the default database, which must be PostgreSQL.
"""

from .batches import Attempt, Batch, BatchQuerySet, Branch, JournalEntry
from .customers import Customer, CustomerDatabase, CustomerQuerySet, Membership, Role
from .nodes import Installation, Node
from .people import Alert, JournalRelease, OperatorRequest

__all__ = [
    "Alert", "Attempt", "Batch", "BatchQuerySet", "Branch", "Customer", "CustomerDatabase", "CustomerQuerySet",
    "Installation", "JournalEntry", "JournalRelease", "Membership", "Node", "OperatorRequest", "Role",
]  # fmt: skip
