"""What a screen shows of values: not the secrets among them, and not without end."""

import pytest

from coordination.redact import HIDDEN, MOST, is_secret, redacted, shown


@pytest.mark.parametrize(
    "key",
    ["password", "db_password", "dbPassword", "API-KEY", "apiKey", "apikey", "AUTH_TOKEN", "secrets", "keys_secret"],
)
def test_keys_of_secrets(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key", ["key", "keys", "keyboard", "author", "path", "passenger", "day", "pinned", "monkey", ""]
)
def test_other_keys(key: str) -> None:
    assert not is_secret(key)


def test_secrets_are_hidden_at_any_depth() -> None:
    value = {"token": {"a": 1}, "list": [{"pwd": "x"}, 7, None], "empty_password": "", "day": "2026-01-01"}
    assert redacted(value) == {
        "token": HIDDEN,
        "list": [{"pwd": HIDDEN}, 7, None],
        "empty_password": "",
        "day": "2026-01-01",
    }


@pytest.mark.parametrize(
    "text, seen",
    [
        ("postgresql://ana:pa55@host:5432/db", f"postgresql://ana:{HIDDEN}@host:5432/db"),
        ("see amqp://u:p@h/ and https://host:8000/x", f"see amqp://u:{HIDDEN}@h/ and https://host:8000/x"),
        ("mailto ana@example.com: hello", "mailto ana@example.com: hello"),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, seen: str) -> None:
    assert redacted([text]) == [seen]


def test_what_is_shown_has_an_end() -> None:
    text = shown({"long": "x" * 9000, "path": "seen.csv"})
    assert "seen.csv" in text and "x" * (MOST // 4 + 1) not in text and "characters more" in text
    assert len(shown({"many": ["line"] * 5000})) < MOST + 100
    assert shown({}) == shown(None) == ""
