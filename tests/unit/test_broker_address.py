"""One reading of a broker's URL for both clients."""

import pytest

from coordination.bus import address
from coordination.bus.address import BadBrokerUrl
from coordination.bus.choose import agent_bus, node_bus


@pytest.mark.parametrize("end", ["", "/", "//", "/%2F", "/%2f", "?heartbeat=10", "/?heartbeat=10", "/%2F?heartbeat=10"])
def test_the_default_virtual_host_however_it_is_written(end: str) -> None:
    read = address.read(f"amqp://us%40r:p%2Fw%3A%40%C3%BC%3F@broker:5673{end}")
    assert (read.vhost, read.host, read.port) == ("/", "broker", 5673)
    assert (read.user, read.password) == ("us@r", "p/w:@ü?")
    assert read.url == "amqp://us%40r:p%2Fw%3A%40%C3%BC%3F@broker:5673/%2F"


@pytest.mark.parametrize(
    ("end", "vhost"),
    [
        ("/mine", "mine"),
        ("/a/b", "a/b"),
        ("/a%2Fb", "a/b"),
        ("//mine", "/mine"),
        ("/%2Fmine", "/mine"),
        ("/m%20n", "m n"),
    ],
)
def test_other_virtual_hosts(end: str, vhost: str) -> None:
    read = address.read(f"amqp://broker{end}")
    assert read.vhost == vhost
    assert address.read(read.url) == read


def test_what_is_left_out_is_the_brokers_default() -> None:
    read = address.read("amqp://")
    assert (read.host, read.port, read.user, read.password, read.vhost) == ("localhost", 5672, "guest", "guest", "/")
    assert address.read("amqp://me@[::1]").blocking_options()["host"] == "[::1]:5672"
    assert address.read("amqp://me:@broker").password == ""


def test_tls_is_verified_by_both_clients() -> None:
    read = address.read("amqps://broker?cafile=/etc/ca.pem&no_verify_ssl=1")
    assert read.port == 5671
    assert read.url == "amqps://guest:guest@broker:5671/%2F?cafile=%2Fetc%2Fca.pem"
    options = read.blocking_options()["ssl"]
    assert options["server_hostname"] == "broker" and options["ca_certs"] == "/etc/ca.pem" and options["cert_reqs"]


def test_nothing_shown_holds_a_password() -> None:
    read = address.read("amqps://me:s3cret@broker/mine")
    assert str(read) == "amqps://broker:5671/mine"
    assert "s3cret" not in f"{read} {read!r}"


@pytest.mark.parametrize(
    "url", ["", "memory", "redis://me:s3cret@host", "amqp://me:s3cret@host:port", "me:s3cret@host"]
)
def test_what_is_no_broker_is_refused_with_a_word(url: str) -> None:
    for make in (lambda url: node_bus(url, "1234abcd"), lambda url: agent_bus(url, "1234abcd", "process", [])):
        with pytest.raises(BadBrokerUrl) as caught:
            make(url)
        assert "s3cret" not in str(caught.value)
        assert "amqp" in str(caught.value) or "encode" in str(caught.value)
