"""Who opened a socket, and whether they may (still) look at a batch."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from coordination.live.viewer import Bye
from coordination.models import Batch


class _SessionAsStored(dict[str, Any]):
    """A session's data as the store has it now, for looking only: what `get_user` would mend stays as it is."""

    def flush(self) -> None:
        self.clear()

    def cycle_key(self) -> None:
        """A new key would sign the browser out, which only a response could tell it."""


def refusal(session_key: str | None, batch: UUID) -> int | None:
    """The code to close with if the session may not see ``batch``: sign in, or not found; None if it may.

    Reads the session anew, so it notices who has signed out, lost the membership, or changed the password.
    """
    user = user_of(session_key)
    if not user.is_authenticated:
        return Bye.SIGN_IN
    if not Batch.objects.for_user(user).filter(pk=batch).exists():
        return Bye.NOT_FOUND
    return None


def user_of(session_key: str | None) -> Any:
    """Whose session that is, as the journal has it now; an anonymous user if nobody's."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    data = _SessionAsStored(store.load() if session_key else {})
    return get_user(cast(HttpRequest, SimpleNamespace(session=data)))
