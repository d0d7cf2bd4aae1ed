"""The vocabulary of a make: which questions it is asked, how often, and what their answers say together.

A make is data and one pure function; who carries the questions (`line.py`), in which order and how many at once
(`native.py`) is none of its business. The same function therefore reads a machine, a capture and a hostile reply.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import orjson

from collectors.miners.nested import at
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

RPC_PORT = 4028
FRAMED_PORT = 4433
HTTP_PORT = 80


class Via(Enum):
    """How a question travels."""

    RPC = "rpc"  # cgminer API: one JSON object, one reply, then the machine closes
    FRAMED = "framed"  # WhatsMiner v3: JSON behind a 4-byte little-endian length, both ways
    HTTP = "http"


class When(Enum):
    """How often a question is asked."""

    EVERY = "every"  # at every look
    SLOW = "slow"  # at the first and every tenth look: pools, modes, errors
    ONCE = "once"  # once per identity
    RARE = "rare"  # at the first look and then every few hours, and told only then: what a machine could do
    DEEP = "deep"  # only where somebody wants everything: probe and capture


class Credential(NamedTuple):
    """The operator's login of one machine; without it a machine is read without login."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. `name` is its key among the answers and the stem of its file in a capture.

    `what` is the command (RPC, FRAMED) or the path with its query (HTTP); `parameter` goes with a command; a `body`
    makes an HTTP question a POST, which only reads (GraphQL) and logins may be. `extra` are top-level keys beside an
    RPC command. `port` is the usual one: a line may be told to use another in its place.
    `is_needed`: without its answer there is no reading. A `digest` turns the decoded answer into what `Make.read` gets;
    answers to SLOW and ONCE questions are kept between looks, a hundred thousand times, so theirs must be small.
    A RARE question is never needed, never joined and the last of its make: whatever it does costs its own answer alone.
    """

    name: str
    what: str
    via: Via = Via.RPC
    port: int = RPC_PORT
    parameter: str | None = None
    body: bytes | None = None
    extra: tuple[tuple[str, bool | int | str], ...] = ()
    when: When = When.EVERY
    is_needed: bool = True
    joins: bool = False  # may be asked together with others: "summary+devs"
    unless: tuple[str, ...] = ()  # not asked in a look that has one of these answers; a deep look asks everything
    needs_login: bool = False  # not asked where the operator gave no credential
    is_text: bool = False  # the answer is a page, not JSON: status line, headers and body are given as one text
    any_status: bool = False  # an answer that refuses is an answer, too
    digest: Callable[[Any], Any] | None = None
    request: bytes = field(init=False, repr=False, compare=False)  # what goes over the wire, RPC and FRAMED
    is_rpc: bool = field(init=False, repr=False, compare=False)  # looked at for every answer, where an enum's member
    is_kept: bool = field(init=False, repr=False, compare=False)  # costs as much as the rest; kept between looks
    is_regular: bool = field(init=False, repr=False, compare=False)  # asked in every full look

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", _request(self))
        object.__setattr__(self, "is_rpc", self.via is Via.RPC)
        object.__setattr__(self, "is_kept", self.when in (When.SLOW, When.ONCE))
        object.__setattr__(self, "is_regular", self.when in (When.EVERY, When.SLOW))


def _request(ask: Ask) -> bytes:
    if ask.via is Via.HTTP:
        return ask.body or b""
    said: dict[str, bool | int | str] = {"command" if ask.via is Via.RPC else "cmd": ask.what, **dict(ask.extra)}
    if ask.parameter is not None:
        said["parameter" if ask.via is Via.RPC else "param"] = ask.parameter
    return orjson.dumps(said)


_Kept = TypeVar("_Kept", bound=Hashable)


def shared(value: _Kept) -> _Kept:
    """The first of equal values, in place of all of them: what most machines of a fleet say is kept once."""
    return cast(_Kept, _first_like(value))


@lru_cache(maxsize=4096, typed=True)
def _first_like(value: Hashable) -> Hashable:
    return value


class Said(dict[str, Any]):
    """Answers by the name of their question, digested; a question that was not asked or not answered is absent.

    `faults` says why an answer is absent, `warnings` what had to be done to read those that are there, `is_deep`
    whether the reading shall tell everything, boards included.
    """

    __slots__ = ("faults", "is_deep", "warnings")

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        *,
        faults: Mapping[str, PollError] | None = None,
        warnings: tuple[str, ...] = (),
        is_deep: bool = False,
    ) -> None:
        if answers:
            self.update(answers)
        self.faults: dict[str, PollError] = dict(faults) if faults else {}
        self.warnings = warnings
        self.is_deep = is_deep


@dataclass(frozen=True, slots=True)
class Login:
    """How a make gives out a token: the question that carries the credential, and its answer as HTTP headers.

    `headers` raises PollError DENIED where the answer holds no token.
    """

    ask: Callable[[Credential], Ask]
    headers: Callable[[Any], Mapping[str, str]]


def token_at(answer: Any, key: str) -> str:
    """The token in the answer to a login, if a header can carry it. Errors: PollError DENIED."""
    token = at(answer, key)
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise PollError(FaultKind.DENIED, "the login gave no token")
    return token


class Excuse(NamedTuple):
    """How a machine says that it is switched off, where it then has no answer to questions that are needed: the name
    of the question that it still answers, and whether its digested answer says so."""

    name: str
    is_off: Callable[[Any], bool]


class Plan(NamedTuple):
    """Questions in the order in which they are asked, needed ones first: those that join and the others, where the
    firmware joins commands, and all of them one by one, where it does not."""

    joined: tuple[Ask, ...]  # two or more, or none
    alone: tuple[Ask, ...]
    single: tuple[Ask, ...]
    names: frozenset[str]  # of all of them


def plan_of(asks: Iterable[Ask]) -> Plan:
    told = tuple(asks)
    joined = tuple(ask for ask in told if ask.joins)
    if len(joined) < 2:
        joined = ()
    single = tuple(sorted(told, key=lambda ask: not ask.is_needed))
    return Plan(joined, tuple(ask for ask in single if ask not in joined), single, frozenset(ask.name for ask in told))


def _plans(asks: Sequence[Ask]) -> tuple[Plan, Plan]:
    return plan_of(ask for ask in asks if not ask.needs_login), plan_of(asks)


@dataclass(frozen=True, slots=True)
class Make:
    """One make or firmware: `key` is its kind in the configuration, `name` what people call it.

    `read` turns the answers of one look into a reading. Errors: PollError, nothing else, whatever the answers hold.
    """

    key: str
    name: str
    asks: tuple[Ask, ...]
    read: Callable[[Said], MinerReading]
    login: Login | None = None
    has_digest_login: bool = False  # HTTP pages behind an RFC 7616 challenge
    pace_s: float = 0.0
    excuse: Excuse | None = None
    usual: tuple[Plan, Plan] = field(init=False, repr=False, compare=False)  # of every look, without and with a login
    regular: tuple[Plan, Plan] = field(init=False, repr=False, compare=False)  # of every tenth
    seldom: tuple[Ask, ...] = field(init=False, repr=False, compare=False)  # the others

    def __post_init__(self) -> None:
        regular = [ask for ask in self.asks if ask.is_regular]
        object.__setattr__(self, "usual", _plans([ask for ask in regular if ask.when is When.EVERY]))
        object.__setattr__(self, "regular", _plans(regular))
        object.__setattr__(self, "seldom", tuple(ask for ask in self.asks if not ask.is_regular))

    def is_excused(self, said: Said) -> bool:
        """Whether a machine that lacks an answer says that it is switched off: then it need not say more."""
        excuse = self.excuse
        return excuse is not None and excuse.name in said and excuse.is_off(said[excuse.name])
