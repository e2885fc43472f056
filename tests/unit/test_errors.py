"""The base of all errors that people meet."""

import pickle

from celery.utils.serialization import get_pickleable_exception

from coordination.errors import DatabaseNotGranted, NotEnded
from coordination.participant.execution import NotPrepared


def test_an_error_survives_pickling() -> None:
    error = DatabaseNotGranted(customer="acme", name="ledger", granted=["crm", "stock"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DatabaseNotGranted
    assert (str(again), again.values) == (str(error), error.values)
    assert isinstance(pickle.loads(pickle.dumps(NotEnded(batch="x", seconds=3))), TimeoutError)


def test_celery_shows_an_error_of_a_task_as_it_is() -> None:
    error = NotPrepared(words="the server went away")
    assert get_pickleable_exception(error) is error
