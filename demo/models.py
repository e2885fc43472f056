"""What the demo's tasks write, in each of its databases."""

from django.db import models


class DemoEntry(models.Model):
    """One row of one task. No row is unique: a task whose work were applied twice would show twice."""

    batch_id = models.UUIDField()
    branch = models.IntegerField()
    n = models.IntegerField()
    value = models.TextField()

    class Meta:
        db_table = "demo_entry"
        indexes = [models.Index(fields=["batch_id", "branch"])]

    def __str__(self) -> str:
        return f"{self.branch}.{self.n} {self.value}"
