"""Large batches in a browser. The figures are printed (`pytest -s`); what is asserted is generous where time is
measured, because the machine is shared, and exact where it is not."""

import statistics
import threading
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_honest import launch
from tests.browser.test_outcomes import expect_banner
from tests.browser.visit import Frames, People
from tests.services import Site

OBSERVE = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({ type: "longtask", buffered: true });
"""
ARRIVED = """
window.arrived = [];
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener("message", ({ data }) => {
      const frame = JSON.parse(data);
      // The page draws in the frame that comes next; the one after that is over when it is on the screen.
      const drawn = () => window.arrived.push([frame.to ?? frame.seq ?? -1, Date.now() / 1000]);
      requestAnimationFrame(() => requestAnimationFrame(drawn));
    });
  }
};
"""
"""Keeps of each frame up to which ``seq`` it goes, and when that was on the screen."""
REPAINT = """() => {
  const times = [];
  for (let round = 0; round < 20; round += 1) {
    const from = performance.now();
    document.dispatchEvent(new Event("themechange"));  // on which the grid draws every cell anew, before it returns
    times.push(performance.now() - from);
  }
  return times;
}"""


def told(capsys: pytest.CaptureFixture[str], words: str) -> None:
    with capsys.disabled():
        print(f"\n  {words}")


class Stored(threading.Thread):
    """Looks all the time how far the journal is with a batch: ``when`` it was seen to have stored each ``seq``."""

    def __init__(self, site: Site, batch: str) -> None:
        super().__init__(daemon=True)
        self._site, self._batch, self._over = site, batch, threading.Event()
        self.when: dict[int, float] = {}

    def run(self) -> None:
        sql = "SELECT seq, extract(epoch FROM clock_timestamp())::float8 FROM coordination_batch WHERE id = %s"
        with self._site.postgres.connect("journal") as journal:
            while not self._over.wait(0.02):
                row = journal.execute(sql, [self._batch]).fetchone()
                assert row
                self.when.setdefault(int(row[0]), float(row[1]))

    def later(self, page: Page) -> list[float]:
        """How many seconds after it was stored each of them was on the screen of the page, which shows the last one."""
        self._over.set()
        self.join()
        arrived: list[tuple[int, float]] = []
        while not any(seq >= max(self.when) for seq, _ in arrived):
            page.wait_for_timeout(50)
            arrived = page.evaluate("window.arrived")
        return [
            max(0.0, min(shown for seq, shown in arrived if seq >= stored) - at) for stored, at in self.when.items()
        ]


def test_two_thousand_tasks_live(running: Site, people: People, capsys: pytest.CaptureFixture[str]) -> None:
    with people.watched() as page:
        page.add_init_script(OBSERVE)
        page.add_init_script(ARRIVED)
        frames = Frames(page)
        address = launch(running, tasks=2_000, fail_at=0, rows=1)
        page.goto(address)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        stored = Stored(running, address.rstrip("/").rpartition("/")[2])
        stored.start()
        expect_banner(page, "Committed – all of it is applied")
        later = stored.later(page)
        longest = page.evaluate("window.longest")
        after = [size for _, size in frames.sizes[1:]]
        told(capsys, f"2,000 tasks live: {len(after)} frames after the snapshot, the largest {max(after):,} bytes;"
                     f" longest task of the main thread {longest:.0f} ms; of {len(later)} changes stored each was on"
                     f" the screen {max(later) * 1000:.0f} ms later at most,"
                     f" {statistics.median(later) * 1000:.0f} in the middle")  # fmt: skip
        assert frames.sizes[0][0] == "snap" and len(after) >= 3
        assert max(after) < 100_000
        assert longest < 1_000
        assert len(later) >= 3 and max(later) < 1.0  # an update is seen within a second


def test_ten_thousand_cells(running: Site, people: People, large: str, capsys: pytest.CaptureFixture[str]) -> None:
    with people.watched() as page:
        page.goto(f"{running.public_url}/c/acme/b/{large}/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        answer = page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd")
        times: list[Any] = page.evaluate(REPAINT)
        told(capsys, f"10,000 tasks: first paint after {paint:.0f} ms, of which the server {answer:.0f};"
                     f" all cells repainted in {statistics.median(times):.1f} ms (median of {len(times)},"
                     f" {min(times):.1f} to {max(times):.1f})")  # fmt: skip
        assert paint < 10_000
        assert statistics.median(times) < 200
        drawn = "document.querySelector('canvas').getContext('2d').getImageData(2, 6, 1, 1).data[3]"
        assert page.evaluate(drawn) > 0
