"""What the journal keeps of an ended batch's queue, when one node deletes it while another has made it again."""

import uuid

import pytest
from django.utils import timezone

from coordination.journal import writer
from coordination.models import Batch, Customer
from coordination.protocol.states import BatchState

pytestmark = pytest.mark.django_db


def test_a_queue_made_again_meanwhile_is_not_taken_for_deleted() -> None:
    batch = Batch.objects.create(
        customer=Customer.objects.create(slug="acme", name="Acme"), plan="demo", tasks=1, guarantee="crash_safe",
        state=BatchState.COMMITTED, epoch=3, start_by=timezone.now(), deadline_seconds=60,
    )  # fmt: skip

    def is_deleted() -> bool:
        return Batch.objects.values_list("queue_deleted", flat=True).get(pk=batch.pk)

    before = writer.epoch_of(batch.pk)
    writer.queue_found(batch.pk)
    writer.queue_deleted(batch.pk, before)
    assert not is_deleted()
    writer.queue_deleted(batch.pk, writer.epoch_of(batch.pk))
    assert is_deleted()
    writer.queue_found(batch.pk)
    assert not is_deleted()
    assert writer.epoch_of(uuid.uuid4()) is None
    writer.queue_deleted(uuid.uuid4(), None)
