"""The site as its operators meet it: commands and processes refuse half a configuration, and people sign in."""

import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from urllib.error import HTTPError

import pytest

from tests.services import ProcessFailed, Site


def test_a_complete_configuration_passes_every_check(site: Site) -> None:
    assert "no issues" in site.manage("check", check=True).stdout
    deployed = site.manage("check", "--deploy", "--fail-level=INFO", env={"PUBLIC_URL": "https://batches.example.com"})
    assert deployed.returncode == 0, deployed.stderr


def test_the_migrations_say_all_that_the_models_say(site: Site) -> None:
    done = site.manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout


def test_a_command_refuses_half_a_configuration(site: Site) -> None:
    done = site.manage("check", env={"REDIS_URL": ""})
    assert done.returncode == 1
    assert "REDIS_URL missing" in done.stderr
    assert "Set REDIS_URL=redis://" in done.stderr


def test_a_worker_refuses_half_a_configuration(site: Site) -> None:
    with pytest.raises(ProcessFailed, match="SECRET_KEY is not set"):
        site.worker(env={"SECRET_KEY": ""})


def test_a_web_process_refuses_half_a_configuration(site: Site) -> None:
    done = site.run([*site.python, "-c", "import orchestrator_site.asgi"], env={"COORDINATION_INSTALLATION": "1"})
    assert done.returncode == 1
    assert "COORDINATION_INSTALLATION must be 8 hexadecimal digits" in done.stderr


def test_workers_of_both_kinds_are_back_soon_after_the_broker(site: Site) -> None:
    workers = [site.worker("prefork"), site.worker("threads")]
    site.rabbitmq.kill()
    site.rabbitmq.start()
    site.wait_until(lambda: site.rabbitmq.queues()["celery"].consumers == 2, 10, what="two consumers")
    assert all(worker.alive for worker in workers)


def test_people_sign_in_and_out(orm: Site) -> None:
    from django.contrib.auth.models import User

    User.objects.filter(username="kim").delete()
    User.objects.create_user("kim", password="a good long password")
    orm.web()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def send(path: str, **fields: str) -> tuple[str, str]:
        """GET, or POST `fields` with the token of the page before; the address that answered, and the page."""
        data = urllib.parse.urlencode(fields).encode() if fields else None
        request = urllib.request.Request(orm.public_url + path, data, {"Origin": orm.public_url})
        with browser.open(request, timeout=20) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe-inline" not in policy
            assert answer.headers["X-Frame-Options"] == "DENY"
            return urllib.parse.urlsplit(answer.url).path, answer.read().decode()

    def token(page: str) -> str:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found
        return found[1]

    _, page = send("/accounts/login/?next=/admin/login/")
    with pytest.raises(HTTPError) as refused:
        send("/accounts/login/", username="kim", password="a good long password", csrfmiddlewaretoken="x" * 64)
    assert refused.value.code == 403
    assert "Please try again" in refused.value.read().decode()
    path, page = send("/accounts/login/", username="kim", password="wrong", csrfmiddlewaretoken=token(page))
    assert path == "/accounts/login/" and 'role="alert"' in page and 'value="kim"' in page
    path, page = send(
        "/accounts/login/", username="kim", password="a good long password", csrfmiddlewaretoken=token(page)
    )
    assert path == "/" and "Sign out" in page
    path, page = send("/accounts/logout/", csrfmiddlewaretoken=token(page))
    assert path == "/accounts/login/"
    with browser.open(f"{orm.public_url}/favicon.ico", timeout=20) as icon:
        assert icon.headers["Content-Type"] == "image/svg+xml"
