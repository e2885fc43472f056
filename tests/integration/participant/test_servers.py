"""Broker and databases that die under a worker: nothing is forgotten, nothing hangs."""


from coordination.protocol.states import Decision
from tests.integration.participant.looking import ENV, LEDGER, ODD, one_vote, result
from tests.integration.participant.standin import Manager
from tests.services import Site, wait_until


def test_a_worker_without_the_database(site: Site, manager: Manager, apart: str) -> None:
    """It says so at once, rather than let the batch wait for its deadline."""
    with site.worker("prefork", 1, apart, env=ENV):
        task = manager.send(ODD + "waits", 0, alias="demo_nowhere")
        assert "demo_nowhere" in one_vote(manager, Decision.ROLLBACK)
        assert result(site, task)[0] == "FAILURE"


def test_a_database_that_is_away_puts_the_task_off(site: Site, manager: Manager, apart: str) -> None:
    """No slot waits for it, no vote is cast, no retry is used up."""
    with site.worker("prefork", 1, apart, env=ENV):
        manager.send(ODD + "waits", 0, alias=LEDGER)
        one_vote(manager, Decision.COMMIT)
        site.postgres2.stop("immediate")
        crm = manager.send(
            "demo.tasks.write_entries", 2, number=2, alias="demo_crm", rows=1, fail_at=0, seconds=0
        )  # fmt: skip
        wait_until(lambda: result(site, crm)[0] == "RETRY", 15, what="the task to be put off")
        manager.send(ODD + "waits", 0, number=3, alias=LEDGER)
        manager.wait(lambda: len(manager.votes) == 2)
        site.postgres2.start()
        manager.wait(lambda: len(manager.votes) == 3, 30)
        assert {vote.vote for vote in manager.votes} == {Decision.COMMIT}
        assert len(manager.attempts) == 3 and set(manager.attempts.values()) <= {0, None}
        manager.decide(Decision.ROLLBACK, manager.votes)
        manager.wait(lambda: len(manager.ends) == 3)


def test_a_database_that_dies_under_a_body(site: Site, manager: Manager, apart: str) -> None:
    """Its vote does not wait for the database's return: nobody else can have prepared this branch."""
    with site.worker("threads", 1, apart, env=ENV):
        manager.send(ODD + "waits", 1, alias="demo_crm")
        manager.wait(lambda: manager.starts)
        site.postgres2.stop("immediate")
        words = one_vote(manager, Decision.ROLLBACK)
        assert "closed" in words or "lost" in words or "terminat" in words
        site.postgres2.start()
