"""How any engine gets many objects and walks a subtree: the rules of `snmp.py`, one request after the other.

An engine brings two functions that send one request each; what an answer means is decided here, so it means the same
whichever library has read it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from collectors.pdus.datagrams import NO_ERROR, NO_SUCH_NAME, TOO_BIG, Unreadable
from collectors.pdus.snmp import Fetch, Oid, Pace, Value, Varbind, Walk, WalkLimits, format_oid
from fleet.ports import PollError
from fleet.readings import FaultKind

DENIALS = frozenset({6, 16})  # noAccess, authorizationError

Address = tuple[str, int]


class Answer(NamedTuple):
    status: int
    position: int
    varbinds: Sequence[Varbind]


AskFor = Callable[[Sequence[Oid]], Awaitable[Answer]]
"""GET of these objects. Errors: PollError."""

AskAfter = Callable[[Oid, int], Awaitable[Answer]]
"""GETBULK of so many rows after this OID, GETNEXT if so many is 0. Errors: PollError."""


async def get_all(ask: AskFor, oids: Sequence[Oid], pace: Pace) -> dict[Oid, Value]:
    """The objects that the device has. Errors: PollError."""
    fetch = Fetch(oids, pace)
    while asked := fetch.next_request():
        try:
            status, position, varbinds = await ask(asked)
        except Unreadable as error:
            fetch.unreadable(error)
            continue
        if status == NO_ERROR:
            fetch.receive(varbinds)
        elif status == TOO_BIG:
            fetch.too_big()
        else:
            _check_access(status)
            fetch.refuse(position, is_final=status == NO_SUCH_NAME)
    return fetch.answers


async def walk_all(ask: AskAfter, root: Oid, pace: Pace, limits: WalkLimits) -> dict[Oid, Value]:
    """All objects below `root`. Errors: PollError; TIMEOUT past the time limit of the walk."""
    walk = Walk(root, pace, limits)
    try:
        async with asyncio.timeout(limits.seconds):
            while (after := walk.next_request()) is not None:
                try:
                    status, _, varbinds = await ask(after, walk.repetitions)
                except Unreadable as error:
                    walk.unreadable(error)
                    continue
                if status == NO_ERROR:
                    walk.receive(varbinds)
                elif status == TOO_BIG:
                    walk.too_big()
                else:
                    _check_access(status)
                    walk.refuse()
    except TimeoutError:
        raise PollError(
            FaultKind.TIMEOUT, f"the walk of {format_oid(root)} took more than {limits.seconds:g} s"
        ) from None
    return walk.answers


def _check_access(status: int) -> None:
    if status in DENIALS:
        raise PollError(FaultKind.DENIED, "auth: the agent refuses this credential access")


def no_answer(timeout_s: float, times: int) -> PollError:
    return PollError(FaultKind.TIMEOUT, f"no answer within {timeout_s:g} s, asked {times} times")


async def resolve(host: str, port: int) -> Address:
    """Errors: PollError UNREACHABLE."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
        )
    except (OSError, UnicodeError):
        raise PollError(FaultKind.UNREACHABLE, "the name does not resolve to an IPv4 address") from None
    address = found[0][4]
    return str(address[0]), int(address[1])
