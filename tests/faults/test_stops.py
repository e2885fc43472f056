"""Workers that are asked to end, in the middle of a batch: warm (SIGTERM) and cold (SIGQUIT).

Prefork only: Celery 5.7 cannot end a pool of threads cold while they run tasks.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scripted import APPS, launch
from tests.integration.batches import adopted, ended, in_state, nothing_left, prepared, rows
from tests.services import Site


@pytest.fixture(scope="module", autouse=True)
def node(whole_site: Site) -> Iterator[None]:
    whole_site.demo_data()
    with whole_site.node():
        yield


def mailboxes(site: Site) -> set[str]:
    """Names of those that somebody reads or has left behind."""
    return {name for name in site.rabbitmq.queues() if ".mailbox." in name and site.installation in name}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_in_the_middle_of_a_batch(orm: Site, tmp_path: Path, number: signal.Signals) -> None:
    """What is prepared stays so, what has voted has been heard, the rest is run by the next worker, and all is once."""
    quick, slow, go = tmp_path / "quick", tmp_path / "slow", tmp_path / "go"
    before = mailboxes(orm)
    leaving = orm.worker("prefork", 2, env=APPS)
    batch = launch(*[["counted", "ledger", quick]] * 4, *[["waits", "crm", slow, go]] * 6)
    orm.wait_until(lambda: slow.exists() and len(slow.read_text()) == 2, 40, what="two slow ones to run")
    orm.wait_until(lambda: in_state(orm, batch, "PREPARED") == 4, 20, what="the first four")
    held, mine = prepared(orm, batch), mailboxes(orm) - before
    assert mine
    began = time.monotonic()
    leaving.send(number)
    if number == signal.SIGTERM:
        leaving.wait_for("Warm shutdown")
        go.touch()
    leaving.wait(30)
    print(f"gone {time.monotonic() - began:.1f} s after {number.name}; left {mailboxes(orm) & mine}")
    go.touch()
    assert held <= prepared(orm, batch), "nothing that was prepared is given up"
    assert not mailboxes(orm) & mine, "its agents have said goodbye"
    with orm.worker("prefork", 2, env=APPS):
        assert ended(orm, batch) == "COMMITTED"
    assert held <= adopted(orm, batch)
    assert rows(orm, batch) == 10 == len(adopted(orm, batch))
    assert len(quick.read_text()) == 4
    # Two were begun by the first worker; a cold one did not let them end.
    assert len(slow.read_text()) == (6 if number == signal.SIGTERM else 8)
    nothing_left(orm, batch)
