"""Mutants of what surrounds the journal: its guards, taking over, strays, cleaning up."""

from typing import Any

from coordination.protocol.journal_rules import StrayFacts, Takeover, answer_stray
from coordination.protocol.messages import Votes
from coordination.protocol.stored import Write

from ..journal import Journal
from ..node import Claim, Node
from ..world import Parts
from .registry import MUTANTS, mutant

# --- the journal and taking over ------------------------------------------------------------------------------

MUTANTS["ReadsThenClaims"] = Parts(
    takeover=(Takeover.READ_JOURNAL, Takeover.RAISE_EPOCH, *list(Takeover)[2:])
)  # The journal is read before the epoch is raised: what the former manager writes in between is missed.


class WithoutNullGuards(Journal):
    """Decision and adopted gids may be written over."""

    def guarded(self, write: Write, epoch: int) -> bool:
        return not self.pruned and epoch == self.epoch


class TakesUnknownForFailed(Node):
    """After a write with unknown result the node goes on with the same epoch, as if nothing had been written."""

    def _raise_epoch(self, claim: Claim) -> bool:
        if self.managers and self.managers[-1].epoch == self.world.journal.epoch:
            claim.epoch, self.world.journal.holder = self.world.journal.epoch, claim
            return True
        return super()._raise_epoch(claim)


MUTANTS["UnknownTakenAsFailed"] = Parts(node=TakesUnknownForFailed, journal=WithoutNullGuards)


@mutant("journal")
class NoEpochNoGuard(Journal):
    """Whoever writes, writes."""

    def guarded(self, write: Write, epoch: int) -> bool:
        return not self.pruned


@mutant("answer_stray")
class AnswersStraysOfOpenBatches:
    """A vote whose queue is gone is refused at once, whatever the journal says of its batch."""

    def __new__(cls, message: Any, facts: StrayFacts) -> Any:
        return answer_stray(message, StrayFacts(known=False))


@mutant("answer_stray")
class StraysCommitWhateverIsAsked:
    """A vote that strays is answered with the batch's decision, adopted or not."""

    def __new__(cls, message: Any, facts: StrayFacts) -> Any:
        names = {item.gid: False for item in message.items} if isinstance(message, Votes) else {}
        known = facts.known and facts.ended
        return answer_stray(message, StrayFacts(known=facts.known, decision=facts.decision, ended=facts.ended,
                                                adopted=names if known else facts.adopted))  # fmt: skip


MUTANTS["NobodyLooksAfterDeclaring"] = Parts(must_clean_up=lambda facts: False)
# One guard covers for the other, but for a crash at the one moment between them.
MUTANTS["QueueDeletedOnlyOnce"] = Parts(cleanup=Parts().cleanup[:-1], cleanup_looks_at_the_epoch=False)
