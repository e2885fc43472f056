"""One run, from the first server to the verdict."""

import shutil
import threading
import time
from pathlib import Path

from tests.chaos import checker
from tests.chaos.faults import Faults
from tests.chaos.plan import Campaign, Kind
from tests.chaos.report import SHARE, print_figures
from tests.chaos.stage import Stage
from tests.chaos.stream import Decisions, Stream
from tests.services.site import ROOT

SETTLE_SECONDS = 120.0
"""How long after the last fault is mended anything may be in doubt."""


def say(words: str) -> None:
    """One line, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def run(campaign: Campaign, *, defect: str = "", settle: float = SETTLE_SECONDS) -> list[str]:
    """Carry ``campaign`` out and print what happened; every violation, in words."""
    say(f"Seed {campaign.seed}: {len(campaign.batches)} launches and {len(campaign.faults)} faults drawn"
        f" for {campaign.seconds:g} s" + (f"; every process has the defect {defect}" * bool(defect)))  # fmt: skip
    stage = Stage(defect=defect)
    try:
        stage.start()
        violations = play(stage, campaign, settle)
        if violations:
            print(f"logs of all processes: {keep_logs(stage, campaign.seed)}")
        return violations
    finally:
        stage.stop()


def play(stage: Stage, campaign: Campaign, settle: float) -> list[str]:
    """Launch and strike until the campaign is over, mend all, wait, check, print; the violations."""
    faults, stream, decisions = Faults(stage, say), Stream(), Decisions(stage.site)
    decisions.start()
    began, ending = time.monotonic(), threading.Event()
    launching = threading.Thread(target=stream.run, args=(campaign.batches, began, ending), daemon=True)
    launching.start()
    for fault in campaign.faults:
        time.sleep(max(began + fault.at - time.monotonic(), 0))
        faults.strike(fault)
    launching.join(max(began + campaign.seconds - time.monotonic(), 0))
    ending.set()
    faults.wait()
    launching.join(60)
    stage.heal()
    killed = [each.began for each in faults.struck if each.fault.kind is Kind.RESTART_BROKER]
    took, left = checker.settle(stage, settle, killed)
    say(f"All mended; nothing in doubt any more after {took:.1f} s" if not left else f"In doubt after {took:.1f} s")
    decisions.stop()
    violations = [*faults.failed, *stage.exits, *decisions.changed, *left[:20]]
    violations += checker.check(stage, stream.operations)
    share = print_figures(stage, stream.operations, faults.struck)
    if share < SHARE:
        violations.append(f"only {share:.0%} of the batches that nothing but a fault can fail committed")
    for violation in violations:
        print(f"VIOLATION: {violation}")
    for batch in checker.batches_of(violations)[:3]:
        print(checker.look_at(stage, batch))
    return violations


def keep_logs(stage: Stage, seed: int) -> Path:
    """Copy the logs to where they stay, and say where."""
    kept = ROOT / "var" / f"chaos-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(stage.scratch.folder / "logs", kept)
    return kept
