"""Batches with their branches, and what became of each."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from coordination.protocol.states import BATCH_ENDED, BatchState, BranchState, Decision, Guarantee, Kind

from .customers import Customer


def _choices(enum: type[BatchState] | type[BranchState] | type[Decision] | type[Kind]) -> list[tuple[str, str]]:
    return [(e.value, e.value.replace("_", " ").capitalize()) for e in enum]


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
