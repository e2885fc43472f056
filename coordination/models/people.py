"""What people ask of batches and of the journal, and what they are told to look at."""

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils.translation import gettext_lazy as _

from coordination.protocol.states import Declared

from .batches import Batch


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
