"""What the embedded stack keeps off the terminal that people watch it on."""

import logging


class ErrorsOfBatches(logging.Filter):
    """Drops what Celery says of the failure of a batch's task: the batch's page and its result tell it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is shown."""
        from celery import current_app

        from coordination.participant.task import BranchTask

        data = getattr(record, "data", None)
        name = data.get("name", "") if isinstance(data, dict) else ""
        return not isinstance(current_app.tasks.get(name), BranchTask)
