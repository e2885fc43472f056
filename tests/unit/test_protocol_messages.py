"""Messages: what goes in comes out, and nothing hostile gets further than MessageError."""

import dataclasses
import json
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.protocol import encoding
from coordination.protocol.encoding import MAX_BYTES, MAX_ITEMS, MAX_TEXT, MessageError, decode, encode
from coordination.protocol.messages import MAX_REASON, Message, Order, OrderItem, Started, Stop, VoteItem, Votes, cut
from coordination.protocol.states import Decision

from .protocol_cast import BATCH, gid, item, started, votes

often = settings(max_examples=300, deadline=None, derandomize=True, database=None)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
counts = st.integers(0, 2**31 - 1)
plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
evidence = st.dictionaries(text, plain | text, max_size=20)


def anything(hint: Any) -> st.SearchStrategy[Any]:
    """Any honest value of a field of that type."""
    if dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: anything(field) for name, field in get_type_hints(hint).items()})
    if get_origin(hint) is tuple:
        return st.lists(anything(get_args(hint)[0]), max_size=4).map(tuple)
    if get_origin(hint) is dict:
        return evidence
    if get_args(hint):
        return st.none() | anything(get_args(hint)[0])
    plainly = {str: text, int: counts, UUID: st.uuids()}
    return plainly[hint] if hint in plainly else st.sampled_from(hint)


honest = st.one_of([anything(cls) for cls in encoding.type_names.values()])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def body(message: Message) -> dict[str, Any]:
    """A message as the dictionary it travels as."""
    return json.loads(encode(message))  # type: ignore[no-any-return]


def data(value: Any) -> bytes:
    """Any dictionary as bytes."""
    return json.dumps(value).encode()


@often
@given(honest)
def test_what_goes_in_comes_out(message: Message) -> None:
    assert decode(encode(message)) == message


@often
@given(honest)
def test_the_wire_is_plain_json_that_names_version_type_and_batch(message: Message) -> None:
    value = body(message)
    assert value["v"] == encoding.VERSION
    assert encoding.type_names[value["type"]] is type(message)
    assert value["batch"] == message.batch.hex


@often
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_words(noise: bytes) -> None:
    with pytest.raises(MessageError):
        decode(noise)


@often
@given(st.sampled_from(sorted(encoding.type_names)), st.dictionaries(st.text(max_size=10), json_values, max_size=5))
def test_any_json_object_is_refused_with_words(name: str, value: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        decode(data({**value, "v": 1, "type": name}))


@often
@given(honest, st.data())
def test_a_message_with_any_part_exchanged_is_a_message_or_refused(message: Message, draw: st.DataObject) -> None:
    """Whatever is put in place of any value, deep inside, nothing but MessageError comes of it."""
    value = body(message)
    place: Any = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw.draw(json_values)
        break
    try:
        understood = decode(data(value))
    except MessageError:
        return
    assert decode(encode(understood)) == understood


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"v": None}, {"type": "decide"}, {"type": None}, {"type": ["vote"]}, {"type": {}}, {"batch": "7"},
        {"batch": 7}, {"batch": "g" * 32}, {"process": 3}, {"process": "x" * (MAX_TEXT + 1)}, {"process": "a\x00b"},
        {"process": "\ud800"}, {"items": {}}, {"items": [3]}, {"items": [{}]}, {"surprise": 1},
    ],
)  # fmt: skip
def test_what_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        decode(data({**body(started(1)), **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"vote": "commit"}, {"vote": []}, {"kind": None}, {"members": ["1"]}, {"members": [-1]}, {"members": [True]},
        {"members": [1.0]}, {"members": [2**31]}, {"members": list(range(MAX_ITEMS + 1))}, {"round": None},
        {"evidence": []}, {"evidence": {str(n): n for n in range(21)}}, {"evidence": {"a": [1]}},
        {"evidence": {"a": "x" * (MAX_REASON + 1)}}, {"evidence": {"x" * (MAX_REASON + 1): 1}},
        {"evidence": {"a": float("nan")}}, {"evidence": {"a": float("inf")}}, {"evidence": {"a\x00": 1}},
        {"evidence": {"a": "\udfff"}}, {"error": {"type": "E"}}, {"error": "E"}, {"gid": None},
    ],
)  # fmt: skip
def test_what_is_refused_of_a_vote(change: dict[str, Any]) -> None:
    """Among it all that the journal would refuse: it would be delivered again for ever."""
    value = body(votes(item(1)))
    value["items"][0].update(change)
    with pytest.raises(MessageError):
        decode(data(value))


@pytest.mark.parametrize("missing", ["vote", "gid", "members", "round", "alias", "kind"])
def test_what_a_vote_must_say(missing: str) -> None:
    value = body(votes(item(1)))
    del value["items"][0][missing]
    with pytest.raises(MessageError, match=f"{missing} is missing"):
        decode(data(value))


@pytest.mark.parametrize(
    "noise", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"v":' + b"1" * 5000 + b"}"]
)
def test_what_is_not_even_an_object(noise: bytes) -> None:
    with pytest.raises(MessageError):
        decode(noise)


def test_too_long_to_be_read_or_sent() -> None:
    with pytest.raises(MessageError, match="over"):
        decode(b" " * (MAX_BYTES + 1))
    long = VoteItem(**{**vars(item(1)), "alias": "x" * MAX_TEXT})
    with pytest.raises(MessageError, match="split its items"):
        encode(votes(*[long] * 300))


def test_as_many_items_as_a_receiver_takes() -> None:
    many = Votes(batch=BATCH, process="p1", items=(item(1),) * MAX_ITEMS)
    assert decode(encode(many)) == many


def test_half_a_surrogate_pair_does_not_stop_a_sender() -> None:
    message = decode(encode(Started(batch=BATCH, process="p\ud800", items=())))
    assert message.process == "p?"  # type: ignore[union-attr]


def test_a_message_reads_like_its_documentation() -> None:
    assert body(Stop(batch=UUID(int=7))) == {"v": 1, "type": "stop", "batch": "0" * 31 + "7"}
    order = OrderItem(gid=gid(1), outcome=Decision.COMMIT, alias="ledger")
    assert body(Order(batch=BATCH, items=(order,)))["items"] == [
        {"gid": gid(1), "outcome": "COMMIT", "alias": "ledger"}
    ]  # fmt: skip


@often
@given(st.text(max_size=400), st.integers(80, 200))
def test_a_cut_text_keeps_both_ends_and_its_limit(long: str, limit: int) -> None:
    short = cut(long, limit)
    assert len(short) <= limit
    assert "\x00" not in short
    clean = long.replace("\x00", "␀")
    assert short == clean or (short[:15] == clean[:15] and short[-15:] == clean[-15:])
