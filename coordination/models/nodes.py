"""Who manages, and whose prepared transactions are ours."""

from django.db import models


class Node(models.Model):
    """A process that hosts managers, and when it was last heard of."""

    name = models.CharField(primary_key=True, max_length=200)
    started = models.DateTimeField(auto_now_add=True)
    heartbeat = models.DateTimeField()
    batches = models.PositiveIntegerField(default=0, help_text="How many it manages.")

    def __str__(self) -> str:
        return self.name


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
