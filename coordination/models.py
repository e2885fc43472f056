"""The journal: the durable record that everything else is a copy of.

Launch inserts a batch with its branches; after that only the manager that holds the batch's epoch changes their
state (:mod:`coordination.journal.writer`). People act through :class:`OperatorRequest` rows. Participants never
touch any of it. The journal lives in the default database, which must be PostgreSQL.
"""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from coordination.protocol.states import BATCH_ENDED, BatchState, BranchState, Decision, Declared, Guarantee, Kind


def _choices(enum: type[BatchState] | type[BranchState] | type[Decision] | type[Kind]) -> list[tuple[str, str]]:
    return [(e.value, e.value.replace("_", " ").capitalize()) for e in enum]


class Role(models.TextChoices):
    """What a member may do for a customer; each role may all that those before it may."""

    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator")
    APPROVER = "approver", _("Approver")


class CustomerQuerySet(models.QuerySet["Customer"]):
    """Customers, scoped to a viewer."""

    def for_user(self, user: Any) -> "CustomerQuerySet":
        """The customers ``user`` is a member of; all for a superuser, none for an anonymous visitor."""
        if not getattr(user, "is_active", False):
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(pk__in=Membership.objects.filter(user=user).values("customer"))


class Customer(models.Model):
    """A tenant: people see only the customers they are members of."""

    slug = models.SlugField(unique=True, help_text="Names the customer in URLs and commands.")
    name = models.CharField(max_length=200)
    queue = models.CharField(
        max_length=200, blank=True, help_text="Celery queue of its tasks; empty: Celery's default."
    )
    max_running_batches = models.PositiveIntegerField(default=0, help_text="More wait their turn; 0: no limit.")
    guarantee_floor = models.CharField(
        max_length=20,
        choices=[(g.value, g.words) for g in Guarantee],
        default=Guarantee.COMPENSATED.value,
        help_text="A batch whose guarantee is weaker is refused.",
    )

    objects = CustomerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def database(self, name: str) -> "CustomerDatabase":
        """The database this customer calls ``name``.

        Raises coordination.errors.DatabaseNotGranted, naming the ones it has.
        """
        from coordination.errors import DatabaseNotGranted

        granted = {d.name: d for d in self.databases.all()}
        if name not in granted:
            raise DatabaseNotGranted(customer=self.slug, name=name, granted=sorted(granted))
        return granted[name]

    def role_of(self, user: Any) -> Role | None:
        """The role of ``user`` here, None for an outsider; a superuser is an approver everywhere."""
        if getattr(user, "is_superuser", False):
            return Role.APPROVER
        if not getattr(user, "is_authenticated", False):
            return None
        role = Membership.objects.filter(customer=self, user=user).values_list("role", flat=True).first()
        return Role(role) if role else None


class Membership(models.Model):
    """A person's role for one customer."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "customer"], name="one_role_a_customer")]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()} of {self.customer}"


class CustomerDatabase(models.Model):
    """A database granted to a customer, under the customer's own name for it."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="databases")
    name = models.SlugField(help_text="What the customer's plans call it.")
    alias = models.CharField(max_length=100, help_text="Django's alias of the database.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "name"], name="one_alias_a_name")]

    def __str__(self) -> str:
        return f"{self.customer.slug}: {self.name} is {self.alias}"


class BatchQuerySet(models.QuerySet["Batch"]):
    """Batches, scoped to a viewer."""

    def for_user(self, user: Any) -> "BatchQuerySet":
        """Batches of the customers ``user`` may see."""
        return self.filter(customer__in=Customer.objects.for_user(user))

    def open(self) -> "BatchQuerySet":
        """Batches that have not ended."""
        return self.exclude(state__in=BATCH_ENDED)


class Batch(models.Model):
    """One execution, all-or-nothing: the global transaction."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="batches")
    plan = models.CharField(max_length=200)
    params = models.JSONField(default=dict)
    key = models.CharField(max_length=200, null=True, blank=True, help_text="Idempotency key; unique a customer.")
    label = models.CharField(max_length=200, blank=True)
    tasks = models.PositiveIntegerField(help_text="How many it has.")
    state = models.CharField(max_length=20, choices=_choices(BatchState), default=BatchState.PENDING)
    decision = models.CharField(max_length=10, choices=_choices(Decision), null=True, blank=True)
    reason = models.TextField(blank=True)
    waiting_for = models.TextField(blank=True, help_text="Why it is not dispatched yet.")
    guarantee = models.CharField(max_length=20, choices=[(g.value, g.words) for g in Guarantee])
    counts = models.JSONField(default=dict, help_text="Branches by state, as of seq.")
    seq = models.BigIntegerField(default=0, help_text="Grows with each unit of work that changes the batch.")
    epoch = models.BigIntegerField(default=0, help_text="Fencing token: grows with each takeover.")
    node = models.CharField(max_length=200, blank=True)
    start_by = models.DateTimeField(help_text="Refused if it could not be dispatched by then.")
    deadline_seconds = models.PositiveIntegerField(help_text="Counts from dispatch.")
    deadline = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    relaunch_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="relaunches")
    on_committed = models.JSONField(null=True, blank=True, help_text="Celery signature sent after it committed.")
    on_rolled_back = models.JSONField(null=True, blank=True, help_text="Celery signature sent after it rolled back.")
    created = models.DateTimeField(auto_now_add=True)
    dispatched = models.DateTimeField(null=True, blank=True)
    decided = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)
    queue_deleted = models.BooleanField(default=False, help_text="Nothing of it is left on the broker.")
    recovery_seconds = models.FloatField(
        db_default=0.0, help_text="How long it had no living manager, over all takeovers: from a node's last word on."
    )

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]
        verbose_name_plural = "batches"
        constraints = [models.UniqueConstraint(fields=["customer", "key"], name="one_batch_a_key")]
        indexes = [
            models.Index(fields=["customer", "-created"]),
            models.Index(fields=["-created"]),
            models.Index(fields=["created"], name="batch_open", condition=Q(ended=None)),
            models.Index(fields=["created"], name="batch_not_cleaned", condition=Q(queue_deleted=False)),
            models.Index(fields=["ended"], name="batch_mixed", condition=Q(state="MIXED")),
            models.Index(fields=["node"], name="batch_taken_over", condition=Q(epoch__gt=1)),
        ]

    def __str__(self) -> str:
        return self.label or f"{self.plan} {str(self.id)[:8]}"

    @property
    def has_ended(self) -> bool:
        """Whether it has its outcome."""
        return BatchState(self.state) in BATCH_ENDED


class Branch(models.Model):
    """One task's share of a batch. Its id is the Celery task id; it writes to exactly one database."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The unique constraint below already indexes the batch first.
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="branches", db_index=False)
    number = models.PositiveIntegerField(help_text="Counts from 1 within the batch.")
    task = models.CharField(max_length=200, help_text="Celery task name.")
    name = models.CharField(max_length=200, help_text="What people call it.")
    database = models.CharField(max_length=100, help_text="The customer's name of its database.")
    alias = models.CharField(max_length=100, help_text="Django's alias of its database.")
    args = models.JSONField(default=dict, help_text='{"args": […], "kwargs": {…}}')
    state = models.CharField(max_length=20, choices=_choices(BranchState), default=BranchState.PENDING)
    seq = models.BigIntegerField(default=0, help_text="The batch's seq when this row last changed.")
    sent = models.BooleanField(default=False, help_text="The broker has confirmed its task message.")
    round = models.PositiveIntegerField(default=0)
    gid = models.CharField(
        max_length=200, null=True, blank=True, help_text="The adopted gid; may cover several branches."
    )
    kind = models.CharField(max_length=20, choices=_choices(Kind), null=True, blank=True)
    proof = models.CharField(max_length=100, null=True, blank=True)
    process = models.CharField(max_length=200, blank=True, help_text="Worker process that ran or prepared it last.")
    how = models.TextField(blank=True, help_text="How its end is known.")
    evidence = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    started = models.DateTimeField(null=True, blank=True)
    prepared = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        verbose_name = "task"
        constraints = [models.UniqueConstraint(fields=["batch", "number"], name="one_branch_a_number")]

    def __str__(self) -> str:
        return f"{self.number}. {self.name}"


class Attempt(models.Model):
    """One execution of a branch, by its token (the random part of its gid)."""

    branch = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    token = models.CharField(max_length=16)
    process = models.CharField(max_length=200)
    retries = models.PositiveIntegerField(null=True, blank=True)
    vote = models.CharField(max_length=10, choices=_choices(Decision), null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    started = models.DateTimeField(auto_now_add=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["started"]
        constraints = [models.UniqueConstraint(fields=["branch", "token"], name="one_attempt_a_token")]

    def __str__(self) -> str:
        return f"{self.token} on {self.process}"


class JournalEntry(models.Model):
    """One sentence about a batch, written in the transaction that makes it true. Append-only."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="entries")
    at = models.DateTimeField(auto_now_add=True)
    seq = models.BigIntegerField(default=0)
    text = models.TextField()

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "journal entries"

    def __str__(self) -> str:
        return self.text


class OperatorRequest(models.Model):
    """What a person asked of a batch, and what came of it: at once the request and its audit row.

    ``before`` and ``after`` are how the batch and the tasks it names stood, read in the transaction that carried it
    out.
    """

    class Action(models.TextChoices):
        """What can be asked for."""

        CANCEL = "cancel", _("Cancel")
        RETRY = "retry", _("Ask the databases again")
        DECLARE = "declare", _("Declare")
        SETTLE = "settle", _("Mark as put right")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="requests")
    action = models.CharField(max_length=20, choices=Action.choices)
    who = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    by = models.CharField(max_length=200, help_text="Who asked, in words; stays when the account is gone.")
    why = models.TextField(blank=True)
    fate = models.CharField(
        max_length=20, blank=True, db_default="", choices=[(f.value, f.words) for f in Declared],
        help_text="What is declared of the tasks.",
    )  # fmt: skip
    tasks = models.JSONField(default=list, db_default=Value([], models.JSONField()), help_text="Numbers it names.")
    key = models.CharField(max_length=200, null=True, blank=True, help_text="The same request sent twice is one.")
    asked = models.DateTimeField(auto_now_add=True)
    handled = models.DateTimeField(null=True, blank=True)
    result = models.TextField(blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["batch", "key"], name="one_request_a_key")]
        indexes = [models.Index(fields=["id"], name="request_not_handled", condition=Q(handled=None))]

    def __str__(self) -> str:
        return f"{self.get_action_display()} asked by {self.by}"


class Node(models.Model):
    """A process that hosts managers, and when it was last heard of."""

    name = models.CharField(primary_key=True, max_length=200)
    started = models.DateTimeField(auto_now_add=True)
    heartbeat = models.DateTimeField()
    batches = models.PositiveIntegerField(default=0, help_text="How many it manages.")

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something a person has to look at, raised once: the node that inserts its row is the one that says so.

    ``subject`` is what it is about: a batch's id, or a node's name and when it was last heard of.
    """

    class Kind(models.TextChoices):
        """What can be the matter."""

        MIXED = "mixed", _("Mixed")
        UNRESOLVED = "unresolved", _("Unresolved")
        SILENT_NODE = "silent_node", _("Silent manager")

    kind = models.CharField(max_length=20, choices=Kind.choices)
    subject = models.CharField(max_length=300)
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    words = models.TextField()
    at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0, help_text="How often it was sent to COORDINATION_ALERT_URL.")
    next_try = models.DateTimeField(null=True, blank=True)
    sent = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "subject"], name="one_alert_a_subject")]
        indexes = [models.Index(fields=["next_try"], name="alert_to_send", condition=Q(next_try__isnull=False))]

    def __str__(self) -> str:
        return self.words


class Installation(models.Model):
    """Whose prepared transactions are ours: one row, made by the first migration."""

    id = models.CharField(primary_key=True, max_length=8)
    generation = models.PositiveIntegerField(
        default=1, help_text="Grows while nodes work; the databases of tasks keep a copy."
    )
    raised = models.DateTimeField(null=True, blank=True, help_text="When the generation grew last.")
    needed = models.PositiveIntegerField(
        default=0, help_text="The generation that a database was found to have; above ours: this journal is older."
    )
    behind_since = models.DateTimeField(null=True, blank=True, help_text="When that was found.")

    def __str__(self) -> str:
        return self.id


class JournalRelease(models.Model):
    """A person let nodes work with a journal that was restored from a backup. Append-only."""

    at = models.DateTimeField(auto_now_add=True)
    by = models.CharField(max_length=200)
    why = models.TextField()
    before = models.PositiveIntegerField(help_text="The generation that was restored.")
    after = models.PositiveIntegerField(help_text="The generation that it was given.")
    rolled_back = models.PositiveIntegerField(help_text="Undecided batches that were asked to roll back.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.before} → {self.after} by {self.by}: {self.why}"
