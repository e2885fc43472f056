"""Worker processes that end, cleanly or not, and what becomes of what they had prepared."""


import pytest

from coordination.protocol.states import Decision
from tests.integration.participant.looking import ENV, LEDGER, ODD, one_vote, prepared
from tests.integration.participant.standin import Manager
from tests.services import Site


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_clean_stop(site: Site, manager: Manager, apart: str, pool: str) -> None:
    """What is prepared stays so, the vote has left, the mailbox is gone."""
    with site.worker(pool, 2, apart, env=ENV) as worker:  # type: ignore[arg-type]
        manager.send(ODD + "waits", 1, alias=LEDGER)
        manager.wait(lambda: manager.starts)
        worker.stop()
    one_vote(manager, Decision.COMMIT)
    (vote,) = manager.votes
    assert prepared(site, manager) == [vote.gid]
    assert not [name for name in site.rabbitmq.queues() if manager.processes[vote.gid] in name]
    site.query(LEDGER, f"ROLLBACK PREPARED '{vote.gid}'")
