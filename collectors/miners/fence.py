"""The fence around a library that reads miners: what it may send, and how long and how often it may try.

A library tries factory passwords, logs operators out, follows redirects to strangers and has writes beside its reads.
What leaves through the fence is a read of the host that the operator named, and a login only where the operator gave
one. Everything is refused that is not known to be harmless.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_IDENTIFICATIONS = 32  # 200 at once starve a library's own 3 s timeout, and it finds nobody

# The environment's proxies are for the internet: no miner is behind one, and none may see a miner's login.
PROXY_VARIABLES = tuple(
    word for name in ("http", "https", "all", "no") for word in (f"{name}_proxy", f"{name}_proxy".upper())
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One look in progress: the host that the operator named, with a login or without, and its end (loop's clock)."""

    host: str
    has_login: bool
    deadline_at: float = float("inf")


_LOGIN = re.compile(r"/(?:auth|log_?in|login\.php|loginpost|luci|token|unlock)$", re.IGNORECASE)
_LOGIN_HEADERS = frozenset({"authorization", "cookie", "token"})
# Old firmware restarts, or takes new settings, at a plain GET. `presets` and `settings` only tell.
_CHANGES = re.compile(r"log_?out|(?<![a-z])(?:re(?:boot|start|set)|set_|upgrade|power_?off|shut_?down)", re.IGNORECASE)
_POSTS_THAT_READ = re.compile(
    r"/graphql|/user/userpanel\?post=4|/api/(?:info_v1|type|overview|summary|getAll|getErrorDetail|pools)"
)


def may_pass(method: str, host: str, target: str, headers: Collection[str], body: bytes, visit: Visit | None) -> bool:
    """Whether a web request may leave for the machine. `target` is the path with its query, `headers` lower-case names.

    Without a visit nothing may: nobody asked for it.
    """
    if visit is None or host != visit.host or _CHANGES.search(target):
        return False
    is_login = _LOGIN.search(target.partition("?")[0]) is not None
    if not visit.has_login and (is_login or not _LOGIN_HEADERS.isdisjoint(headers)):
        return False
    if method != "POST":
        return method == "GET"
    return is_login or (_POSTS_THAT_READ.fullmatch(target) is not None and b"mutation" not in body)


# --- time and number -----------------------------------------------------------------------------------------------

T = TypeVar("T")

_gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()
_abandoned: set[asyncio.Future[Any]] = set()


def gate() -> asyncio.Semaphore:
    """At most MAX_IDENTIFICATIONS at once, per event loop."""
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_IDENTIFICATIONS))


async def abandonable(call: Coroutine[Any, Any, T], deadline_at: float) -> T:
    """The result of a library call, or PollError TIMEOUT at the deadline, whether or not the call lets go.

    Libraries catch cancellation in places and go on, so waiting for a cancelled call could last for ever.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=max(0.0, deadline_at - asyncio.get_running_loop().time()))
    finally:
        if not task.done():
            _abandoned.add(task)  # the loop holds tasks weakly
            task.add_done_callback(_bury)
            task.cancel()
    if not task.done():
        raise PollError(FaultKind.TIMEOUT, "library call past the deadline")
    return task.result()


def _bury(task: asyncio.Future[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # an exception that nobody fetches is logged by asyncio
