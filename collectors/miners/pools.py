"""Which pool gets the work, from a cgminer `pools` reply: the host, whether it lives, and nothing of the account.

User, worker and password stand in the same reply in clear; they are dropped here, before anything can keep them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from collectors.miners import cgminer

MAX_URL_CHARS = 256

SEVERAL_HOSTS = "several_pool_hosts"


@dataclass(frozen=True, slots=True)
class Pools:
    """`host` of the working pool; `is_alive` None = not said; `count` of the pools that are configured.

    `others` are hosts of further pools that are active now: firmware with pool groups splits the work by quota.
    """

    host: str | None
    is_alive: bool | None
    count: int
    others: tuple[str, ...] = ()


def digest(reply: Mapping[str, Any]) -> Pools:
    """Pools of one reply. The working pool is the first that is stratum active, by its number."""
    rows = cgminer.section(reply, "POOLS")
    active = [row for row in rows if cgminer.flag(row.get("Stratum Active"))]
    working = min(active, key=_number_of, default=None)
    host = None if working is None else _host(working)
    return Pools(
        host=host,
        is_alive=_is_alive(working, rows),
        count=sum(1 for row in rows if row.get("URL")),
        others=others_than(host, map(_host, active)),
    )


def others_than(host: str | None, hosts: Iterable[str | None]) -> tuple[str, ...]:
    """The hosts besides `host`, each once, in their order."""
    return tuple(dict.fromkeys(other for other in hosts if other is not None and other != host))


def _host(row: Mapping[str, Any]) -> str | None:
    return host_of(row.get("Stratum URL") or row.get("URL"))


def host_of(url: object) -> str | None:
    """Host of a pool URL without scheme, port and account, lower case; None for what is no URL."""
    text = cgminer.text(url, MAX_URL_CHARS)
    return None if text is None else _host_of(text)


@lru_cache(maxsize=1024)
def _host_of(text: str) -> str | None:
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None
    return cgminer.text((host or "").lower())


def _number_of(row: Mapping[str, Any]) -> float:
    number = cgminer.number(row.get("POOL"))
    return float("inf") if number is None else number


def _is_alive(working: Mapping[str, Any] | None, rows: tuple[Mapping[str, Any], ...]) -> bool | None:
    """Whether the working pool is alive; without one, False where pools are listed and every one is dead."""
    if working is not None:
        word = cgminer.text(working.get("Status"))
        return None if word is None else word.lower() == "alive"
    return False if rows and all(str(row.get("Status")).lower() == "dead" for row in rows) else None
