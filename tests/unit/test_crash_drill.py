"""When the crash drill refuses to begin, and how it prints what it found."""

from io import StringIO
from typing import Any

import pytest

from coordination.crashpoints import Point
from coordination.drill.crew import POINTS
from coordination.drill.trial import Fault, Result
from coordination.management.base import Exit, Failed
from coordination.management.commands import crash_drill


@pytest.mark.parametrize(
    "name, value", [("COORDINATION_HOST", "some.Host"), ("COORDINATION_BROKER_URL", "memory://localhost//")]
)
def test_in_one_process_it_refuses_whatever_is_said(settings: Any, name: str, value: str) -> None:
    setattr(settings, name, value)
    with pytest.raises(Failed, match="Here everything runs in one process") as refused:
        crash_drill._may_begin(anyway=True)
    assert refused.value.returncode == Exit.WRONG_REQUEST


def test_it_comes_to_each_point_once() -> None:
    assert len(set(POINTS)) == len(POINTS)
    assert set(POINTS) <= set(Point)


def test_a_matrix_of_what_passed() -> None:
    said = StringIO()
    command = crash_drill.Command(stdout=said)
    results = [
        Result(point=Point.DECIDED, fault=Fault.KILL, outcome="committed", seconds=2.04, problems=[]),
        Result(point=Point.DECIDED, fault=Fault.CUT, outcome="rolled back (it was so)", seconds=3.0, problems=[]),
        Result(point=Point.ENDED, fault=Fault.KILL, outcome="not over", seconds=None, problems=["it is prepared"]),
    ]
    command._print(results, ["ledger"], 12, as_json=False)
    lines = [" ".join(line.split()) for line in said.getvalue().splitlines()]
    assert lines == [
        "kill cut",
        "decision.stored pass: committed, 2.0 s pass: rolled back, 3.0 s",
        "end.stored FAIL: not over -",
        "3 trials in 12 s on ledger; longest recovery 3.0 s",
    ]
