"""Kills what a test run started if the run itself is killed.

Runs as a process of its own and reads lines from its standard input: `group N` (a process group was started), `gone N`
(it has ended), `folder PATH` (a temporary folder was made). The end of the input means that the test run is over,
however it ended, for the kernel closes a dead process's pipes: what is left then is killed and removed.
"""

import contextlib
import os
import shutil
import signal
import sys
import time


def main() -> None:
    """Keep the list until the input ends, then clear up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    folders: set[str] = set()
    for line in sys.stdin:
        word, _, value = line.rstrip("\n").partition(" ")
        if word == "group":
            groups.add(int(value))
        elif word == "gone":
            groups.discard(int(value))
        elif word == "folder":
            folders.add(value)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    if groups:
        time.sleep(1)  # PostgreSQL's children notice their parent's death by themselves
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
