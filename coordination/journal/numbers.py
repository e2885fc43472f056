"""Numbers of tasks as people write them: ``1-5, 8``."""

import re
from collections.abc import Collection, Iterable

_PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
LARGEST = 100_000


def numbers_in(text: str) -> list[int]:
    """The numbers that ``text`` names, in order and each once. Raises ValueError saying how to write them."""
    found: set[int] = set()
    count = 0
    for part in re.sub(r" ?[-–] ?", "-", " ".join(text.replace(",", " ").split())).split():
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 1 <= first <= last <= LARGEST:
            raise ValueError(f"{part!r} is no number of a task; write 1-5,8")
        count += last - first + 1
        if count > LARGEST:  # the same ranges over and over are work without end
            raise ValueError(f"these are more than {LARGEST:,} numbers")
        found.update(range(first, last + 1))
    return sorted(found)


def in_words(numbers: Iterable[int], most: int | None = None, further: int = 0) -> str:
    """``numbers`` as :func:`numbers_in` reads them: "1-5, 8"; after ``most`` ranges, or for ``further`` ones that were
    not read, "and 12 more".
    """
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    shown = ranges if most is None else ranges[:most]
    words = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in shown)
    left = sum(last - first + 1 for first, last in ranges[len(shown) :]) + further
    return f"{words} and {left:,} more" if left else words


def counted(numbers: Collection[int]) -> str:
    """How many tasks and which: "task 3", "12 tasks (1-12)"."""
    if len(numbers) == 1:
        return f"task {in_words(numbers)}"
    return f"{len(numbers):,} tasks ({in_words(numbers, 10)})"
