"""Who runs a command."""

import getpass
import os
import socket


def who() -> str:
    """The account and machine, in words, for the journal."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        name = f"uid {os.getuid()}"
    return f"{name} on {socket.gethostname()}, by command"
