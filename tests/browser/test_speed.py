"""Large batches in a browser. The figures are printed (`pytest -s`); what is asserted is generous where time is
measured, because the machine is shared, and exact where it is not."""

import statistics
from typing import Any

import pytest
from playwright.sync_api import expect

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


def test_two_thousand_tasks_live(running: Site, people: People, capsys: pytest.CaptureFixture[str]) -> None:
    with people.watched() as page:
        page.add_init_script(OBSERVE)
        frames = Frames(page)
        page.goto(launch(running, tasks=2_000, fail_at=0, rows=1))
        expect_banner(page, "Committed – all of it is applied")
        longest = page.evaluate("window.longest")
        after = [size for _, size in frames.sizes[1:]]
        told(capsys, f"2,000 tasks live: {len(after)} frames after the snapshot, the largest {max(after):,} bytes;"
                     f" longest task of the main thread {longest:.0f} ms")  # fmt: skip
        assert frames.sizes[0][0] == "snap" and len(after) >= 3
        assert max(after) < 100_000
        assert longest < 1_000


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
