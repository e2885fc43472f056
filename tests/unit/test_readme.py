"""What the README shows is what runs: its example is the adopter's code, its exit codes are the commands'."""

import re
from pathlib import Path

from coordination.management.base import Exit
from coordination.management.commands.launch_batch import EXITS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_example_is_the_adopters_code() -> None:
    blocks = re.findall(r"```python\n# (loads/\w+\.py)\n(.*?)```", README, re.DOTALL)
    assert [name for name, _ in blocks] == ["loads/tasks.py", "loads/plans.py"]
    for name, code in blocks:
        assert code == (ROOT / "tests/adopter" / name).read_text()


def test_every_exit_code_is_told() -> None:
    for text, shape in ((README, r"^\| (\d+) \|"), (EXITS, r"^  (\d+) ")):
        assert {int(code) for code in re.findall(shape, text, re.MULTILINE)} == set(Exit)
