"""The agent that runs beside us, as a reader finds it: where it listens, and its answers, bounded in size and time.

A listener that wants TLS or a password has a second door for readers on the same machine: a socket file beside the
journal, which the agent makes for its own user alone (decision 0013). Whoever may open it may read the journal too.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.section import ConfigError

if TYPE_CHECKING:
    from agent.config import PrometheusSection

FETCH_TIMEOUT_S = 5.0
BESIDE = "unix:"
"""An address that begins so is the path of a socket file."""


class Unreachable(Exception):
    """The agent gave no answer that can be used; the text says why, in a few words."""


def scheme_of(listener: PrometheusSection) -> str:
    """`https` where the listener has a certificate. Errors: ConfigError for a web-config file that is wrong."""
    if listener.web_config is None:
        return "http"
    from agent import webconfig  # with yaml and bcrypt, which nobody else needs

    return "http" if webconfig.load(listener.web_config).tls is None else "https"


def url_of(listener: PrometheusSection) -> str:
    """Where a reader on this machine finds the agent that listens so. Errors: as `scheme_of`."""
    host, port = listener.endpoint
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"{scheme_of(listener)}://{f'[{host}]' if ':' in host else host}:{port}"


def socket_beside(listener: PrometheusSection, journal: Path) -> Path | None:
    """The file of the second door; None where the listener asks nobody for anything and so needs none."""
    return None if listener.web_config is None else Path(f"{journal}.sock")


def door_of(listener: PrometheusSection, journal: Path) -> str:
    """The address at which a reader on this machine asks the agent."""
    path = socket_beside(listener, journal)
    return url_of(listener) if path is None else f"{BESIDE}{path}"


def checked_url(url: str) -> str:
    """The operator's --url. Errors: ConfigError, which repeats no password."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError("--url", f"{url[:80]!r} does not begin with http:// or https://")
    if "@" in url:
        message = "cannot hold a user and a password; on the agent's machine, without --url, none is needed"
        raise ConfigError("--url", message)
    return url


def ask(url: str, page: str, most_bytes: int) -> bytes:
    """What the agent at `url` says on one of its pages. Errors: Unreachable, whatever the other side does."""
    # the agent is a neighbour: a proxy of the environment would only be in the way
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = url.rstrip("/")
    if url.startswith(BESIDE):
        opener.add_handler(_Beside(url.removeprefix(BESIDE)))
        address = "http://localhost"
    try:
        with opener.open(f"{address}/{page}", timeout=FETCH_TIMEOUT_S) as answer:
            body: bytes = answer.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        raise Unreachable(f"it says {error.code} {error.reason}") from None
    except OSError as error:
        cause = getattr(error, "reason", error)
        if url.startswith(BESIDE) and (why := _WHY_NOT_BESIDE.get(type(cause))):
            raise Unreachable(why) from None
        raise Unreachable(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__) from None
    except Exception as error:  # noqa: BLE001 - any bytes may come back from a port that is not ours
        raise Unreachable(f"it speaks no HTTP ({type(error).__name__})") from None
    if len(body) > most_bytes:
        raise Unreachable(f"its answer is longer than {most_bytes} bytes")
    return body


_WHY_NOT_BESIDE: dict[type, str] = {
    FileNotFoundError: "no agent listens there",
    ConnectionRefusedError: "no agent listens there",
    PermissionError: "only root and the agent's own user may ask there",
}


class _Beside(urllib.request.HTTPHandler):
    """HTTP over a socket file, whatever the address says."""

    handler_order = urllib.request.HTTPHandler.handler_order - 1

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        path = self._path

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(FETCH_TIMEOUT_S)
                self.sock.connect(path)

        connect: Any = Connection
        return self.do_open(connect, request)
