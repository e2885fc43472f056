"""Asking what may hang: nobody is held up, nobody is asked twice at a time, and what comes late is dropped."""

import asyncio
import threading
import time

from coordination.manager.asker import Asker


async def test_one_that_hangs_holds_up_nobody_and_is_asked_again_when_it_has_answered() -> None:
    asker, may, asked = Asker[str, int]("test"), threading.Event(), list[str]()

    def question(key: str) -> int:
        asked.append(key)
        if key == "slow":
            assert may.wait(30)
        return len(asked)

    assert await asker.ask(["fast"], question, 30) == {"fast": 1}
    began = time.monotonic()
    assert await asker.ask(["slow"], question, 0.05) == {}
    assert await asker.ask(["slow"], question, 30) == {}, "it is not waited for a second time"
    assert (await asker.ask(["slow", "fast"], question, 30)).keys() == {"fast"}
    assert time.monotonic() - began < 15 and asked.count("slow") == 1
    may.set()
    while "slow" not in (answers := await asker.ask(["slow"], question, 30)):
        await asyncio.sleep(0.01)
    assert answers == {"slow": 4} and asked.count("slow") == 2, "the late answer is dropped"
