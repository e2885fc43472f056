"""What arms a crash point, and what happens at it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.crashpoints import CrashAtIsWrong, CrashMarksMissing, Point, parse

PROGRAM = (
    "from coordination import crashpoints as c\n"
    "for n in range(5): print(n, flush=True); c.reach(c.Point.DECIDED)\n"
    "print('passed')"
)


def _run(at: str, marks: Path) -> tuple[int, list[str]]:
    env = {**os.environ, "COORDINATION_CRASH_AT": at, "COORDINATION_CRASH_MARKS": str(marks)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.split()


def test_it_strikes_at_the_named_time_and_once_for_all(tmp_path: Path) -> None:
    assert _run("decision.stored#3=kill", tmp_path) == (-signal.SIGKILL, ["0", "1", "2"])
    assert int((tmp_path / "decision.stored").read_text()) > 0
    assert _run("decision.stored#3=kill", tmp_path) == (0, ["0", "1", "2", "3", "4", "passed"])


def test_another_point_does_not_strike(tmp_path: Path) -> None:
    assert _run("decision.before=kill", tmp_path)[0] == 0


def test_it_waits_until_it_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "decision.stored.go").touch()
    assert _run("decision.stored=wait", tmp_path)[0] == 0
    assert (tmp_path / "decision.stored").exists()


@pytest.mark.parametrize("words", ["decision.stored", "nowhere=kill", "decision.stored=explode", "end.before#x=kill"])
def test_words_it_does_not_understand(words: str, tmp_path: Path) -> None:
    with pytest.raises(CrashAtIsWrong, match=r"decision\.stored, "):
        parse({"COORDINATION_CRASH_AT": words, "COORDINATION_CRASH_MARKS": str(tmp_path)})


def test_it_needs_its_folder() -> None:
    with pytest.raises(CrashMarksMissing):
        parse({"COORDINATION_CRASH_AT": f"{Point.DECIDED}=kill"})
