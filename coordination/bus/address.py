"""Where the broker is: the one reading of an AMQP URL, for both clients."""

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

PORTS = {"amqp": 5672, "amqps": 5671}
LOCAL = "memory"
"""The scheme of a bus within one process, which is Celery's too."""
_TLS_OPTIONS = ("cafile", "certfile", "keyfile")


class BadBrokerUrl(ValueError):
    """The URL is not one of a broker. Its words never hold a password."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A broker's address. As text it is safe to log: neither user nor password are in it."""

    scheme: str
    host: str
    port: int
    vhost: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    tls: dict[str, str] = field(repr=False, default_factory=dict)
    """Files of an ``amqps`` connection: ``cafile`` (default: the machine's), ``certfile`` and ``keyfile``."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/{quote(self.vhost, safe='')}"

    @property
    def url(self) -> str:
        """The URL in the spelling that every client reads alike. It holds the password: never log it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        query = f"?{urlencode(self.tls)}" if self.tls else ""
        return f"{self.scheme}://{credentials}@{host}:{self.port}/{quote(self.vhost, safe='')}{query}"

    def blocking_options(self) -> dict[str, Any]:
        """The arguments that py-amqp's ``Connection`` takes for this address. Certificates are verified."""
        options: dict[str, Any] = {
            "host": f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}",
            "userid": self.user,
            "password": self.password,
            "login_method": "PLAIN",
            "virtual_host": self.vhost,
        }
        if self.scheme == "amqps":
            names = {"cafile": "ca_certs", "certfile": "certfile", "keyfile": "keyfile"}
            options["ssl"] = {
                "cert_reqs": ssl.CERT_REQUIRED,
                "server_hostname": self.host,
                **{names[name]: path for name, path in self.tls.items()},
            }
        return options


def is_local(url: str) -> bool:
    """Whether ``url`` means the bus within this process (``memory://``): there is no broker, and no address."""
    return url.startswith(f"{LOCAL}://")


def read(url: str) -> Address:
    """The address in ``url``: ``amqp[s]://[user[:password]@]host[:port][/vhost]``, all parts percent-encoded.

    No path, ``/``, ``//`` and ``/%2F`` all mean the virtual host ``/``. Of a query only ``cafile``, ``certfile`` and
    ``keyfile`` count. Raises BadBrokerUrl.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadBrokerUrl(
            "The broker's URL cannot be read: percent-encode what is special in user and password."
        ) from None
    if parts.scheme not in PORTS:
        raise BadBrokerUrl(
            f"A broker's URL begins with amqp:// or amqps:// (or is memory://, for one process "
            f"that does everything), not {parts.scheme[:20]!r}."
        )
    return Address(
        scheme=parts.scheme,
        host=parts.hostname or "localhost",
        port=port or PORTS[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password if parts.password is not None else "guest"),
        tls={name: value for name, value in parse_qsl(parts.query) if name in _TLS_OPTIONS},
    )
