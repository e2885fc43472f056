"""`manage.py demo`: one stack for all the tests here, others beside it, and the same one again after it was killed."""

import re
import signal
import time
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from tests.embedded.household import Household, id_of
from tests.services import Process, wait_until


class Stack:
    """The home, and the process that is its stack at the moment."""

    def __init__(self, home: Household) -> None:
        self.home = home
        self.process: Process = home.demo()


@pytest.fixture(scope="module")
def stack(home: Household) -> Stack:
    return Stack(home)


def test_what_it_prints_is_enough_to_sign_in(stack: Stack) -> None:
    said = stack.process.log
    assert stack.home.url in said and str(stack.home.folder) in said
    [password] = re.findall(r"password (\S+)", said)
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    form = browser.open(f"{stack.home.url}/accounts/login/").read().decode()
    assert "Demo" in form and stack.home.folder.name.split("$")[1] in form
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token
    fields = {"csrfmiddlewaretoken": token.group(1), "username": "acme_operator", "password": password, "next": "/"}
    inside = browser.open(f"{stack.home.url}/accounts/login/", urllib.parse.urlencode(fields).encode())
    assert "acme_operator" in inside.read().decode()


def test_next_to_it_a_launch_is_a_client(stack: Stack) -> None:
    done = stack.home.launch(fail_at=0)
    assert done.returncode == 0, done.stderr
    assert f"{stack.home.url}/c/acme/b/{id_of(done.stderr)}/" in done.stdout
    assert sum(stack.home.rows(id_of(done.stderr))) == 1000
    accepted = stack.home.launch("--no-wait", tasks=3)
    assert accepted.returncode == 0, accepted.stderr
    waited = stack.home.manage("wait_batch", id_of(accepted.stderr))
    assert waited.returncode == 0, waited.stderr
    assert stack.process.alive and stack.home.server()


def test_a_client_that_is_interrupted_leaves_its_batch_alone(stack: Stack) -> None:
    launching = stack.home.launching(fail_at=0, seconds=0.2, tasks=20)
    batch = id_of(launching.wait_for(r"Batch \S+").group())
    stack.home.wait_for_prepared(1)
    launching.send(signal.SIGINT)
    assert launching.wait() == 130
    assert "goes on" in launching.log
    assert stack.home.manage("wait_batch", batch).returncode == 0


def test_a_second_one_in_the_same_home_is_told_of_the_first(stack: Stack) -> None:
    second = stack.home.manage("demo")
    assert second.returncode == 2
    assert f"It already runs: {stack.home.url}" in second.stderr


def test_a_busy_port_is_named_with_its_way_out_and_another_home_works_at_the_same_time(
    stack: Stack, far_home: Household
) -> None:
    own_port = far_home.port
    far_home.port = stack.home.port
    busy = far_home.manage("demo")
    assert busy.returncode == 2
    assert f"Port {stack.home.port} is taken by another program. Choose another: make demo PORT=" in busy.stderr
    assert far_home.server() is None
    far_home.port = own_port
    other = far_home.demo()
    assert far_home.page().status == stack.home.page().status == 200
    assert far_home.launch(tasks=2, fail_at=0).returncode == 0
    other.send(signal.SIGINT)
    assert other.wait() == 0, other.log
    assert "Stopped." in other.log and "Traceback" not in other.log
    assert far_home.server() is None and stack.home.page().status == 200


def test_two_thousand_tasks_take_less_than_400_mb(stack: Stack) -> None:
    home = stack.home
    launching = home.launching(fail_at=0, tasks=2000, rows=1)
    taken = []
    while launching.alive:
        taken.append(home.megabytes(stack.process))
        time.sleep(0.3)
    assert launching.wait() == 0, launching.log
    assert 100 < max(taken) < 400


def test_killed_in_the_middle_of_batches_and_started_again_each_ends_right(stack: Stack) -> None:
    home = stack.home
    good, bad = (
        id_of(home.launch("--no-wait", tasks=40, seconds=0.2, fail_at=fail_at).stderr) for fail_at in (0, 40)
    )
    wait_until(lambda: (home.state(good), home.state(bad)) == ("ACTIVE", "ACTIVE"), what="both batches to run")
    home.wait_for_prepared(4)
    stack.process.kill()
    stack.process = home.demo()
    assert "Making" not in stack.process.log
    assert home.manage("wait_batch", good).returncode == 0
    assert home.manage("wait_batch", bad).returncode == 3
    wait_until(lambda: not home.prepared(), 15, what="nothing prepared")
    assert sum(home.rows(good)) == 400 and home.rows(bad) == [0, 0, 0]


def test_told_to_end_in_the_middle_of_a_batch_it_leaves_nothing_running(stack: Stack) -> None:
    home = stack.home
    batch = id_of(home.launch("--no-wait", tasks=40, seconds=60).stderr)
    wait_until(lambda: home.state(batch) == "ACTIVE", what="the batch to begin")
    stack.process.send(signal.SIGTERM)
    assert stack.process.wait(30) == 0, stack.process.log
    assert "Traceback" not in stack.process.log
    assert home.server() is None
    done = home.manage("cancel_batch", batch)
    assert done.returncode == 0, done.stderr
