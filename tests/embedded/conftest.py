"""Homes for the tests of the embedded stack. None of them uses the services of the other tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SCRATCH
from tests.embedded.household import Household


def _home(request: pytest.FixtureRequest, name: str) -> Iterator[Household]:
    household = Household(SCRATCH, Path(SCRATCH.folder) / request.path.stem / name)
    yield household
    household.stop()


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest) -> Iterator[Household]:
    """A home that nobody has been in, with a name that asks for care."""
    yield from _home(request, "a höme's $HOME")


@pytest.fixture(scope="module")
def far_home(request: pytest.FixtureRequest) -> Iterator[Household]:
    """Another, whose path is too long for a socket's."""
    yield from _home(request, "far/" + "away/" * 20)
