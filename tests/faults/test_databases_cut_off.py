"""Connections to a database that are cut after a request has arrived, before its answer has left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.cutting import CuttingProxy
from tests.faults.scripted import APPS, launch
from tests.integration.batches import adopted, attempts, ended, in_state, nothing_left, rows
from tests.services import Site


@pytest.fixture(scope="module", autouse=True)
def node(whole_site: Site) -> Iterator[None]:
    whole_site.demo_data()
    with whole_site.node():
        yield


def committed(site: Site, batch: str, tasks: int) -> None:
    """It committed, each task once, and nothing of it is left."""
    assert ended(site, batch) == "COMMITTED"
    assert rows(site, batch) == tasks == len(adopted(site, batch))
    nothing_left(site, batch)


@pytest.mark.parametrize("statement", ["PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED"])
def test_cut_off_before_the_answer(orm: Site, tmp_path: Path, statement: str) -> None:
    """Row 33. The server does what it was told, for each of three tasks, unheard: it is asked by gid and by proof."""
    fails = statement == "ROLLBACK PREPARED"
    proxy = CuttingProxy(orm.postgres2.port, statement.encode(), most=3)
    targets = orm.settings["TARGET_DATABASES"].replace(f":{orm.postgres2.port}/", f":{proxy.port}/")
    go, last = tmp_path / "go", "fails" if fails else "writes"
    try:
        with orm.worker("threads", 2, env={**APPS, "TARGET_DATABASES": targets}):
            batch = launch(*[["writes", "crm"]] * 3, [last, "ledger", *([go] if fails else [])])
            orm.wait_until(lambda: in_state(orm, batch, "PREPARED") >= 3 or not fails, 30, what="three prepared")
            go.touch()
            if fails:
                assert ended(orm, batch) == "ROLLED_BACK" and rows(orm, batch) == 0
                nothing_left(orm, batch)
            else:
                committed(orm, batch, 4)
    finally:
        proxy.close()
    assert proxy.cuts == 3
    assert set(attempts(orm, batch).values()) == {1}
