"""A task that puts its vote off."""

from coordination.api import branch_task


@branch_task(bind=True, max_retries=1)
def comes_later(self, db: str) -> None:  # type: ignore[no-untyped-def]
    """Asks to be run again in ten minutes: its batch is not decided before, and no worker's slot is taken."""
    raise self.retry(countdown=600)
