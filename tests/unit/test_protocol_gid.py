"""Names of prepared transactions: built and read in one place, within every database's limits."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.protocol.gid import GidParts, branch_prefix, build, installation_prefix, parse

often = settings(max_examples=300, deadline=None, derandomize=True, database=None)

hexes = st.text("0123456789abcdef", min_size=16, max_size=16)
parts = st.builds(
    GidParts, installation=hexes.map(lambda h: h[:8]), batch=st.uuids(), branch=st.integers(0, 999_999_999),
    round=st.integers(0, 9999), token=hexes,
)  # fmt: skip


@often
@given(parts)
def test_what_is_built_can_be_read(wanted: GidParts) -> None:
    assert parse(build(**vars(wanted))) == wanted


@often
@given(parts, parts)
def test_different_parts_make_different_names(one: GidParts, other: GidParts) -> None:
    assert (build(**vars(one)) == build(**vars(other))) == (one == other)


@often
@given(parts)
def test_it_fits_everywhere(wanted: GidParts) -> None:
    """PostgreSQL takes less than 200 bytes; XA a gtrid (up to the batch) and a bqual of 64 bytes each."""
    gid = build(**vars(wanted))
    assert len(gid.encode()) < 200
    gtrid = f"{installation_prefix(wanted.installation)}{wanted.batch.hex}"
    bqual = gid.removeprefix(f"{gtrid}_")
    assert gid == f"{gtrid}_{bqual}"
    assert len(gtrid.encode()) <= 64
    assert len(bqual.encode()) <= 64
    assert "'" not in gid


@often
@given(parts)
def test_its_prefixes_find_it_and_no_other_branch(wanted: GidParts) -> None:
    gid = build(**vars(wanted))
    prefix = branch_prefix(installation=wanted.installation, batch=wanted.batch, branch=wanted.branch)
    assert gid.startswith(prefix)
    assert prefix.startswith(installation_prefix(wanted.installation))
    other = build(**{**vars(wanted), "branch": (wanted.branch * 10 + 1) % 1_000_000_000})
    assert not other.startswith(prefix)


@often
@given(st.text(max_size=80))
def test_a_strangers_name_is_not_read(name: str) -> None:
    assert parse(name) is None


@pytest.mark.parametrize(
    "change",
    [
        {"installation": "5EED5EED"}, {"installation": "5eed"}, {"installation": "5eed5ee'"}, {"branch": -1},
        {"branch": 10**9}, {"round": 10**4}, {"token": "0" * 15}, {"token": "g" * 16}, {"token": "0" * 16 + "\n"},
    ],
)  # fmt: skip
def test_a_name_nobody_could_read_back_is_not_built(change: dict[str, object]) -> None:
    good: dict[str, object] = {
        "installation": "5eed5eed", "batch": UUID(int=7), "branch": 1, "round": 0, "token": "0" * 16
    }  # fmt: skip
    build(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hex digits"):
        build(**{**good, **change})  # type: ignore[arg-type]


def test_digits_of_other_scripts_are_not_digits() -> None:
    gid = build(installation="5eed5eed", batch=UUID(int=7), branch=1, round=0, token="0" * 16)
    assert parse(gid.replace("_1_", "_١_")) is None
