"""The site's settings, with what a bench needs to choose by environment.

BENCH_RESULTS says where Celery's results go (`redis://…`, `django-db`; empty: nowhere). BENCH_STARTS is set in the
process that starts the runs: there Celery publishes as it does by default, without waiting for the broker's confirm of
each message, because the bare groups shall be as fast as they can be.
"""

import os

from orchestrator_site.settings import *  # noqa: F403

CELERY_RESULT_BACKEND = os.environ["CELERY_RESULT_BACKEND"] = os.environ.get("BENCH_RESULTS") or "disabled"
CELERY_IMPORTS = ["bench.by_hand"]
if "BENCH_STARTS" in os.environ:
    CELERY_BROKER_TRANSPORT_OPTIONS = {}
