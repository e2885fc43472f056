"""Tasks that the plans here need and that misbehave in no other test."""

import time
from pathlib import Path

from coordination.api import branch_task
from tests.integration.participant.odd.tasks import write


@branch_task(bind=True, max_retries=1)
def comes_back(self, db: str, path: str, seconds: float) -> None:  # type: ignore[no-untyped-def]
    """Asks to be run again after ``seconds``, once: until ``path`` exists."""
    write(db)
    if not Path(path).exists():
        Path(path).touch()
        raise self.retry(countdown=seconds)


@branch_task(time_limit=1)
def hangs(db: str) -> None:
    """Works longer than Celery lets it: its worker kills the process it runs in."""
    write(db)
    time.sleep(30)
