"""docs/failure-modes.md names, for each failure, tests that exist and say that they prove it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
DOCUMENT = TESTS.parent / "docs" / "failure-modes.md"
ROWS = re.compile(r"Rows? ([0-9, and]+)\.")


def _proofs() -> Iterator[tuple[int, str]]:
    """Row and ``file::test`` of each test whose docstring begins with the rows it proves."""
    for path in sorted(TESTS.rglob("test_*.py")):
        if "adopter" in path.parts:
            continue
        tree = ast.walk(ast.parse(path.read_text()))
        functions = [node for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for function in functions:
            found = ROWS.match(ast.get_docstring(function) or "")
            if found and function.name.startswith("test_"):
                for row in re.findall(r"\d+", found[1]):
                    yield int(row), f"{path.relative_to(TESTS)}::{function.name}"


def _documented() -> dict[int, set[str]]:
    table: dict[int, set[str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        if found := re.match(r"\| (\d+) \|", line):
            assert int(found[1]) not in table, f"row {found[1]} is there twice"
            table[int(found[1])] = set(re.findall(r"`([\w/]+\.py::\w+)`", line))
    return table


def test_each_row_names_the_tests_that_prove_it() -> None:
    proofs: dict[int, set[str]] = defaultdict(set)
    for row, test in _proofs():
        proofs[row].add(test)
    documented = _documented()
    assert documented.keys() >= proofs.keys()
    wrong = {row: names ^ proofs[row] for row, names in documented.items() if names != proofs[row]}
    assert not wrong, f"rows whose tests differ between docs/failure-modes.md and the tests' docstrings: {wrong}"


def test_only_what_is_said_to_be_missing_has_no_test() -> None:
    text = DOCUMENT.read_text()
    without = {row for row, names in _documented().items() if not names}
    said = {int(row) for row in re.findall(r"^- Row (\d+) ", text.partition("## Not there yet")[2], re.MULTILINE)}
    assert without == said
