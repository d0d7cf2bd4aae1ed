"""Which pool gets the work, from a list of pools of any make: the host, whether it lives, and nothing of the account.

User, worker and password stand in the same lists in clear; they are dropped here, before anything can keep them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from collectors.miners import cgminer
from collectors.miners.make import shared

MAX_URL_CHARS = 256

POOLS_MISSING = "pools_missing"
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

    @property
    def has_work(self) -> bool:
        """Whether there is a pool to work for: one is configured, and they are not all dead."""
        return self.count > 0 and self.is_alive is not False


class Seen(NamedTuple):
    """One pool of a list, as far as it matters: `is_active` = gets work now, `is_alive` None = not said."""

    url: object
    is_active: bool
    is_alive: bool | None


def digest(reply: Mapping[str, Any]) -> Pools:
    """Pools of one cgminer reply, by their numbers, without those that custom firmware hides and mines its fee at."""
    return _told(tuple([_words(row) for row in sorted(cgminer.section(reply, "POOLS"), key=_number_of)]))


_Words = tuple[str | None, str | None, bool, str | None]


def _words(row: Mapping[str, Any]) -> _Words:
    """URL, that of stratum where it has one, whether it gets work, status."""
    url = row.get("URL")
    return (
        cgminer.text(url, MAX_URL_CHARS),
        cgminer.text(row.get("Stratum URL") or url, MAX_URL_CHARS),
        bool(cgminer.flag(row.get("Stratum Active"))),
        cgminer.text(row.get("Status")),
    )


@lru_cache(maxsize=1024)  # what most machines of a fleet say is worked out once
def _told(rows: tuple[_Words, ...]) -> Pools:
    return chosen(
        [
            Seen(stratum_url, is_active, _is_alive(word))
            for url, stratum_url, is_active, word in rows
            if url is None or not _is_hidden(url)
        ]
    )


def chosen(pools: Sequence[Seen]) -> Pools:
    """The working pool is the first active one; without one, `is_alive` is False where every pool is dead."""
    active = [pool for pool in pools if pool.is_active]
    host = host_of(active[0].url) if active else None
    hosts = dict.fromkeys(host_of(pool.url) for pool in active)
    all_dead = bool(pools) and all(pool.is_alive is False for pool in pools)
    return shared(
        Pools(
            host=host,
            is_alive=active[0].is_alive if active else False if all_dead else None,
            count=sum(1 for pool in pools if pool.url),
            others=tuple(other for other in hosts if other is not None and other != host),
        )
    )


def by_priority(rows: Sequence[Mapping[str, Any]]) -> Pools:
    """Pools of a list that does not say which of them gets the work, as web pages have it: `url`, `status`, `priority`.

    The living one of the lowest number does; one without a number comes behind them.
    """
    told = [(row, cgminer.text(row.get("status"))) for row in rows if cgminer.text(row.get("url"))]
    living = [row for row, word in told if _is_alive(word)]
    working = min(living, key=priority_of, default=None)
    return chosen([Seen(row.get("url"), row is working, _is_alive(word)) for row, word in told])


def _is_alive(word: str | None) -> bool | None:
    return None if word is None else word.lower() in ("alive", "active")


def priority_of(row: Mapping[str, Any]) -> float:
    """The lowest number is the best; none comes behind all."""
    number = cgminer.number(row.get("priority"))
    return inf if number is None or number < 0.0 else number


def _is_hidden(url: str) -> bool:
    """`*` and `**` of Hiveon, `DevFee` of VNish: they get work for minutes, beside the farm's pool or in its place."""
    return not url.strip("*") or url.lower() == "devfee"


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
    return inf if number is None else number
