"""What the style sheets and scripts hold, against the protocol's table: shapes for every state, and contrasts."""

import re
from pathlib import Path

import pytest

import coordination
from coordination.protocol.states import LETTERS, LOOKS, BranchState

STATIC = Path(coordination.__file__).parent / "static" / "coordination"
SHEET = (STATIC / "base.css").read_text()
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", SHEET)
}
THEMES = {"light": 0, "dark": 1}
GROUNDS = ("ground", "surface", "raised")


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_words_can_be_read(theme: str) -> None:
    """WCAG 1.4.3: 4.5 to 1 for text, in each theme, on whatever it may stand on."""
    place = THEMES[theme]
    pairs = [(word, ground) for word in ("text", "muted", "accent", "bad", "good") for ground in GROUNDS]
    pairs += [("on-accent", "accent"), ("bad", "bad-ground"), ("text", "accent-ground"), ("muted", "accent-ground")]
    pairs += [("surface", "bad")]  # the button that cancels
    poor = {pair: contrast(TOKENS[pair[0]][place], TOKENS[pair[1]][place]) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", LOOKS)
def test_states_can_be_seen(state: BranchState, theme: str) -> None:
    """WCAG 1.4.11: 3 to 1 for marks, cells and what shows where a control ends."""
    place = THEMES[theme]
    colour = (LOOKS[state].light, LOOKS[state].dark)[place]
    for ground in ("surface", "raised"):
        assert contrast(colour, TOKENS[ground][place]) >= 3, (state, ground)
    assert contrast(TOKENS["field"][place], TOKENS["surface"][place]) >= 3


def test_every_state_has_a_shape_and_a_letter_of_its_own() -> None:
    drawn = set(re.findall(r'^  "?([a-z-]+)"?\(pen, size', (STATIC / "cells.js").read_text(), re.MULTILINE))
    assert {look.shape for look in LOOKS.values()} == drawn
    assert len(set(LETTERS.values())) == len(BranchState)


def test_no_style_sheet_says_a_states_colour_itself() -> None:
    """They are in states.css alone, which is made from the table."""
    for path in STATIC.glob("*.css"):
        sheet = path.read_text()
        for look in LOOKS.values():
            found = [line for line in sheet.splitlines() if look.light in line or look.dark in line]
            assert [line for line in found if "--bad:" not in line] == [], path.name
