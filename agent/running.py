"""The agent that runs beside us, as a reader finds it: where it listens, and its answers, bounded in size and time."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config import PrometheusSection

FETCH_TIMEOUT_S = 5.0


class Unreachable(Exception):
    """The agent gave no answer that can be used; the text says why, in a few words."""


def url_of(listener: PrometheusSection) -> str:
    """Where a reader on this machine finds the agent that listens so."""
    host, port = listener.endpoint
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask(url: str, page: str, most_bytes: int) -> bytes:
    """What the agent at `url` says on one of its pages. Errors: Unreachable, whatever the other side does."""
    if not url.startswith(("http://", "https://")):
        raise Unreachable("the address must begin with http:// or https://")
    # the agent is a neighbour: a proxy of the environment would only be in the way
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/{page}", timeout=FETCH_TIMEOUT_S) as answer:
            body: bytes = answer.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        raise Unreachable(f"it says {error.code} {error.reason}") from None
    except OSError as error:
        cause = getattr(error, "reason", error)
        raise Unreachable(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__) from None
    except Exception as error:  # noqa: BLE001 - any bytes may come back from a port that is not ours
        raise Unreachable(f"it speaks no HTTP ({type(error).__name__})") from None
    if len(body) > most_bytes:
        raise Unreachable(f"its answer is longer than {most_bytes} bytes")
    return body
