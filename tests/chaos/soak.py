"""The long form: a fault each ten seconds, waves of browsers, and nothing may grow."""

import threading
import time

from tests.chaos import browsers
from tests.chaos.growth import Growth, back_to, baseline
from tests.chaos.plan import Campaign
from tests.chaos.run import keep_logs, play, say
from tests.chaos.stage import Stage
from tests.services import Process

BROWSERS = 500
WAVES_EVERY = 240.0
BASELINE_SECONDS = 150.0
"""How long mailboxes of killed processes, and connections kept idle, may take to go."""


def soak(campaign: Campaign, *, settle: float) -> list[str]:
    """Carry ``campaign`` out beside a web server and waves of browsers; violations and growth, in words."""
    launches, faults = len(campaign.batches), len(campaign.faults)
    say(f"Seed {campaign.seed}: {launches} launches and {faults} faults drawn for {campaign.seconds:g} s")
    stage = Stage()
    try:
        stage.start()
        _make_a_member()
        web = stage.site.web()
        before = baseline(stage)
        growth = Growth(stage, lambda: _watched(stage, web))
        waves = _Waves(stage, campaign.seconds)
        growth.start()
        waves.start()
        violations = play(stage, campaign, settle)
        growth.stop()
        waves.stop()
        print("medians by quarters of the run:")
        violations += [*growth.verdict(), *waves.problems, *back_to(before, stage, BASELINE_SECONDS)]
        if violations:
            print(f"logs of all processes: {keep_logs(stage, campaign.seed)}")
        return violations
    finally:
        stage.stop()


def _watched(stage: Stage, web: Process) -> dict[str, int]:
    """Processes that are never killed: by their names, their process ids."""
    node, worker = stage.members[0].process, stage.members[2].process
    assert node is not None and worker is not None
    return {"node 1": node.pid, "worker 1": worker.pid, "web": web.pid}


def _make_a_member() -> None:
    from django.contrib.auth import get_user_model

    from coordination.models import Customer, Membership

    user = get_user_model().objects.create_user("watcher", password=browsers.PASSWORD)
    Membership.objects.create(user=user, customer=Customer.objects.get(slug="one"))


class _Waves:
    """Every few minutes all browsers come at once to the latest batch of customer one."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        self._stage, self._until = stage, time.monotonic() + seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waves", daemon=True)
        self.problems: list[str] = []

    def start(self) -> None:
        """Begin, after a quarter of a minute."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the wave that is under way."""
        self._ending.set()
        self._thread.join(browsers.IGNORED_SECONDS + 60)

    def _run(self) -> None:
        pause = 15.0
        while not self._ending.wait(pause) and time.monotonic() < self._until:
            try:
                self._wave()
            except Exception as error:  # A database may be away at this moment.
                say(f"No wave of browsers this time: {type(error).__name__}: {error}")
                pause = 10.0
                continue
            pause = WAVES_EVERY

    def _wave(self) -> None:
        batch = self._stage.site.value("default", (
            "SELECT b.id::text FROM coordination_batch b JOIN coordination_customer c ON c.id = b.customer_id"
            " WHERE c.slug = 'one' ORDER BY b.created DESC LIMIT 1"
        ))  # fmt: skip
        cookie = browsers.session(self._stage.site, "watcher")
        wave = browsers.wave(self._stage.site, cookie, batch, BROWSERS)
        dropped = "never" if wave.dropped is None else f"after {wave.dropped:.0f} s"
        say(f"{wave.browsers} browsers at once: {wave.served} have a snapshot, the last after {wave.last:.1f} s;"
            f" one that never reads was let go {dropped}")  # fmt: skip
        if wave.served < wave.browsers:
            self.problems.append(f"{wave.browsers - wave.served} of {wave.browsers} browsers saw no snapshot")
        if wave.dropped is None:
            self.problems.append(f"a browser that never reads is kept for over {browsers.IGNORED_SECONDS:g} s")
