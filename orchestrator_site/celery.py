"""The site's Celery application.

Start a worker with `celery -A orchestrator_site worker --without-gossip --without-mingle`: there is no setting for
these two, and gossip makes a queue for each worker.
"""

import os
from typing import Any

import celery
from celery.signals import celeryd_init
from celery.worker import consumer
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")

app = celery.Celery("orchestrator_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


class Consumer(consumer.Consumer):
    """A consumer that is back within two seconds of the broker.

    Celery waits 2, 4, 6 … 30 s between attempts, and no setting changes that.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, asking again after 0.2, 0.5, 0.8 … 2 s."""
        ensure = conn.ensure_connection

        def ensure_soon(*args: Any, **kwargs: Any) -> Any:
            return ensure(*args, **{"interval_start": 0.2, "interval_step": 0.3, "interval_max": 2, **kwargs})

        conn.ensure_connection = ensure_soon
        return super().ensure_connected(conn)


@celeryd_init.connect
def refuse_half_a_configuration(**kwargs: Any) -> None:
    """Celery runs Django's checks but goes on whatever they say; stop instead."""
    from orchestrator_site.checks import refuse_to_start

    try:
        refuse_to_start()
    except ImproperlyConfigured as error:
        raise SystemExit(f"{error}") from error
