"""Tasks that have nothing to do with batches, on the same workers."""

from celery import shared_task
from django.db import connection, transaction

from chores.models import Note


@shared_task(bind=True)
def write_note(self, text):
    """Writes a note, says how this task and its transaction are set up, and commits it by itself."""
    with transaction.atomic():
        Note.objects.create(text=text)
    Note.objects.create(text=f"{text}: acks_late={self.acks_late}, autocommit={connection.get_autocommit()}")


@shared_task
def tell(text):
    """What a batch leaves behind when it has ended."""
    Note.objects.create(text=text)
