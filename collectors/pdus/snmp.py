"""What a PDU collector asks of SNMP: get many objects, walk one subtree. Engines live elsewhere, the rules live here.

The rules are sans-IO (`Fetch`, `Walk`): an engine sends what `next_request` names and hands the answer back, so every
engine behaves alike on the agents that exist. Answers are matched by OID and never by position; an object that the
agent does not have is an absent key; a walk needs strictly increasing OIDs and ends at its prefix, at its caps or with
a named error. `Pace` remembers per device how much one answer can carry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fleet.ports import PollError
from fleet.readings import FaultKind

Oid = tuple[int, ...]
Value = int | bytes | Oid
"""INTEGER and its kin as int, OCTET STRING and IpAddress as bytes, OBJECT IDENTIFIER as a tuple."""

Varbind = tuple[Oid, Value | None]
"""One object of an answer; None stands for noSuchObject, noSuchInstance, endOfMibView and NULL."""

SYS_DESCR: Oid = (1, 3, 6, 1, 2, 1, 1, 1, 0)
SYS_OBJECT_ID: Oid = (1, 3, 6, 1, 2, 1, 1, 2, 0)
SYS_UPTIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
TICKS_PER_S = 100


Version = Literal["1", "2c", "3"]
AuthProtocol = Literal["sha1", "sha224", "sha256", "sha384", "sha512"]
PrivProtocol = Literal["aes128", "aes192", "aes256"]
EngineName = Literal["auto", "pysnmp", "gufo"]


@dataclass(frozen=True, slots=True)
class Credential:
    """How to be let in. Equal credentials share one engine; no secret ever shows in a repr.

    Versions 1 and 2c need only a community. Version 3 needs a user; without `auth_key` it is noAuthNoPriv, with it
    authNoPriv, with both keys authPriv. Keys are passphrases of at least 8 characters.
    """

    community: str = field(default="", repr=False)
    version: Version = "2c"
    user: str = ""
    auth: AuthProtocol = "sha256"
    auth_key: str = field(default="", repr=False)
    priv: PrivProtocol = "aes128"
    priv_key: str = field(default="", repr=False)

    @property
    def level(self) -> Literal["noAuthNoPriv", "authNoPriv", "authPriv"]:
        if not self.auth_key:
            return "noAuthNoPriv"
        return "authPriv" if self.priv_key else "authNoPriv"


@dataclass(slots=True)
class Pace:
    """How much this device can carry; shrinks on tooBig and is never raised again by itself."""

    varbinds: int = 25
    repetitions: int = 10
    bulk: bool = True
    absent: set[Oid] = field(default_factory=set)
    """What a v1 agent refused to name (noSuchName): asking for one such object costs it the whole answer."""


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """Where a walk ends whatever the agent says: honest tables of one PDU are far below."""

    rows: int = 2048
    octets: int = 256 * 1024
    seconds: float = 10.0
    enough: int | None = None
    """Ends quietly after this many rows: whoever asks only whether a table exists needs one."""
    after: Oid | None = None
    """Goes on behind this object: a long walk is taken in pieces."""


class SnmpClient(Protocol):
    """One device. Errors: PollError (TIMEOUT, MALFORMED, OVERSIZE, DENIED, UNREACHABLE)."""

    @property
    def engine(self) -> str:
        """The library that speaks: "gufo" or "pysnmp"."""
        ...

    async def get(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        """The objects that the device has; what it has not is not a key."""
        ...

    async def walk(self, root: Oid, limits: WalkLimits = ...) -> dict[Oid, Value]:
        """All objects below `root`, in the order of their OIDs."""
        ...

    def set_pace(self, pace: Pace) -> None:
        """Start again from these sizes: the profile of the device is known now."""
        ...

    async def aclose(self) -> None: ...


UNREADABLE_IS_ENOUGH = 4
"""So many objects asked for alone and not one readable answer: it is the device, not a value."""


class Fetch:
    """GET of any number of objects in chunks. While `next_request()` is not empty: send it, then report the answer."""

    def __init__(self, oids: Iterable[Oid], pace: Pace) -> None:
        self.answers: dict[Oid, Value] = {}
        self._pace = pace
        self._due = deque(oid for oid in dict.fromkeys(oids) if oid not in pace.absent)
        self._asked: tuple[Oid, ...] = ()
        self._careful = len(self._due)
        self._unreadable = 0
        self._can_speak = False

    def next_request(self) -> tuple[Oid, ...]:
        count = min(len(self._due), max(1, self._pace.varbinds), self._careful)
        self._asked = tuple(self._due.popleft() for _ in range(count))
        return self._asked

    def receive(self, varbinds: Iterable[Varbind]) -> None:
        """Keeps what was asked for; what the answer left out is missing, what it added is ignored."""
        asked = frozenset(self._asked)
        self._careful *= 2
        self._can_speak = True
        self.answers.update((oid, value) for oid, value in varbinds if value is not None and oid in asked)

    def too_big(self) -> None:
        """The answer did not fit: ask again in halves. A single object that does not fit is missing."""
        if len(self._asked) > 1:
            self._pace.varbinds = len(self._asked) // 2
            self._due.extendleft(reversed(self._asked))

    def unreadable(self, error: PollError) -> None:
        """The answer cannot be read: ask in halves, so that one bad value costs no other. Errors: `error` itself,
        from a device of which nothing can be read.
        """
        if len(self._asked) > 1:
            self._careful = len(self._asked) // 2
            self._due.extendleft(reversed(self._asked))
        else:
            self._unreadable += 1
            if not self._can_speak and (self._unreadable == UNREADABLE_IS_ENOUGH or not self._due):
                raise error

    def refuse(self, position: int, *, is_final: bool = False) -> None:
        """The agent failed on one object (1-based error index): ask again without it; if final, in later polls too."""
        if not 1 <= position <= len(self._asked):
            raise PollError(FaultKind.MALFORMED, f"error index {position} for {len(self._asked)} objects")
        if is_final:
            self._pace.absent.add(self._asked[position - 1])
        rest = self._asked[: position - 1] + self._asked[position:]
        self._due.extendleft(reversed(rest))


class Walk:
    """Walk of one subtree. While `next_request()` gives an OID: ask for what follows it, then report the answer."""

    def __init__(self, root: Oid, pace: Pace, limits: WalkLimits = WalkLimits()) -> None:
        self.answers: dict[Oid, Value] = {}
        self._root = root
        self._pace = pace
        self._limits = limits
        self._last = root if limits.after is None else limits.after
        self._octets = 0
        self._is_done = False

    @property
    def repetitions(self) -> int:
        """How many rows to ask for at once; 0 = the agent knows only GETNEXT."""
        if not self._pace.bulk:
            return 0
        wanted = self._pace.repetitions if self._limits.enough is None else self._limits.enough - len(self.answers)
        return max(1, min(self._pace.repetitions, wanted))

    def next_request(self) -> Oid | None:
        return None if self._is_done else self._last

    def receive(self, varbinds: Sequence[Varbind]) -> None:
        """Takes the rows below the root.

        Errors: PollError MALFORMED if an OID does not come after the one before it (a looping agent), OVERSIZE past
        the caps.
        """
        root, depth, answers, last = self._root, len(self._root), self.answers, self._last
        limits = self._limits
        self._is_done = not varbinds
        for oid, value in varbinds:
            if value is None or oid[:depth] != root:
                # The end, even if this OID is smaller: some agents wrap to their first object after the last.
                self._is_done = True
                break
            if oid <= last:
                raise PollError(FaultKind.MALFORMED, f"OIDs do not increase in the walk of {format_oid(root)}")
            last = oid
            answers[oid] = value
            if type(value) is bytes:
                self._octets += len(value)
            if len(answers) == limits.enough:
                self._is_done = True
                break
        self._last = last
        if len(answers) > limits.rows or self._octets + 4 * len(last) * len(answers) > limits.octets:
            raise PollError(FaultKind.OVERSIZE, f"the walk of {format_oid(root)} does not end")

    def too_big(self) -> None:
        """The answer did not fit: ask for half as many rows. One row that does not fit ends the walk."""
        if self.repetitions <= 1:
            raise PollError(FaultKind.OVERSIZE, f"one row of {format_oid(self._root)} does not fit an answer")
        self._pace.repetitions = self.repetitions // 2

    def unreadable(self, error: PollError) -> None:
        """The answer cannot be read: ask for half as many rows. Errors: `error` itself at one row."""
        if self.repetitions <= 1:
            raise error
        self._pace.repetitions = self.repetitions // 2

    def refuse(self) -> None:
        """The agent answers with an error where it should say endOfMibView: old agents end their tree so."""
        self._is_done = True


def parse_oid(text: str) -> Oid:
    """`1.3.6.1`, a leading dot allowed. Errors: ValueError that says what is wrong."""
    parts = text.strip().removeprefix(".").split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is not an OID in numbers")
    oid = tuple(int(part) for part in parts)
    if max(oid) > 0xFFFFFFFF or len(oid) > 128:
        raise ValueError(f"{text!r} is not an OID: a part above 2^32 - 1, or more than 128 parts")
    return oid


def format_oid(oid: Oid) -> str:
    return ".".join(map(str, oid))


def printable(value: Value | None, limit: int = 64) -> str | None:
    """Text of a device, safe to show: cut at the first NUL, without control characters, at most `limit` characters.

    None for what is not text or holds nothing that can be seen.
    """
    if not isinstance(value, bytes):
        return None
    text = value[: 8 * limit].split(b"\0", 1)[0].decode("utf-8", errors="replace")
    seen = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return seen[:limit].rstrip() or None
