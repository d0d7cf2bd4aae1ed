"""One machine that we read ourselves, of whatever make: who it is, what to ask it now, and what it has taught us.

At most one question is in flight. Where the firmware takes joined commands one connection carries them all; whether it
does is tried once and remembered, also across restarts (`MinerReading.way`). Questions that the reading can do without
never cost it: one that is refused, denied or hangs is left alone for a hundred looks.

A machine keeps its make as long as it answers like one. After a look that failed it is asked again who it is, because
another one may stand there now: one question, where nothing speaks against what it was. A MAC or serial that differs
from the last look's is a fault of this look, never a reading.

What changes seldom is asked at every tenth look and kept, what never does at every hundredth, as long as it is the same
run of the same machine (`run.py`). Whatever breaks with that is asked everything in the same look, who it is first,
before it counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from collectors.miners import cgminer, hearing, makes
from collectors.miners.identify import Identified, classify, identify
from collectors.miners.line import Line
from collectors.miners.make import Ask, Make, Said, When, plan_of
from collectors.miners.run import Run
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

NEEDS_PYASIC = "needs pyasic"
SLOW_EVERY = 10
FORGIVE_EVERY = 100
RARE_S = 4 * 3600.0

MAC_OF_NEIGHBOUR = "mac_from_neighbour_table"
JOINED, SINGLE = "+joined", "+single"

_GONE = (FaultKind.UNREACHABLE, FaultKind.REFUSED, FaultKind.TIMEOUT)
_STRANGE = (FaultKind.MALFORMED, FaultKind.UNSUPPORTED, FaultKind.IDENTITY)
_NOT_LIKE_IT = (*_STRANGE, FaultKind.REFUSED, FaultKind.DENIED)
"""The host is there and does not answer as what we know there does: it may be another one, on another port."""
_CUT = (FaultKind.REFUSED, FaultKind.DENIED, FaultKind.UNSUPPORTED)
"""One port of a machine is closed to us, the others need not be."""

_LEFT_ALONE = (*_GONE, FaultKind.UNSUPPORTED, FaultKind.DENIED, FaultKind.OVERSIZE)

_RARE = When.RARE

_NONE: frozenset[str] = frozenset()  # one for all machines: a new one each would be their largest part

Questions = tuple[Sequence[Ask], Sequence[Ask]]
"""Those to ask in one connection, two or more or none, and those to ask one by one."""

MacOf = Callable[[str, float], str | None]
"""MAC of a neighbour by its address, at an instant of the loop's clock."""


class NativeMiner:
    """One machine at the end of one line. `key` names its make where the operator did; else it is found out.

    `way` is what an earlier reading said about how this machine is asked. `mac_of` finds the MAC of machines whose
    API has none.
    """

    __slots__ = (
        "_deadline_s", "_identity", "_joins", "_kept", "_known", "_left_alone", "_line", "_looks", "_mac_of", "_make",
        "_rare_after", "_run", "_slow_at", "_told", "_way",
    )  # fmt: skip

    def __init__(
        self, line: Line, deadline_s: float, key: str | None = None, way: str | None = None, mac_of: MacOf | None = None
    ) -> None:
        self._line = line
        self._deadline_s = deadline_s
        self._told = key
        self._mac_of = mac_of
        self._make: Make | None = None
        self._known: str | None = None  # key of the make that a single question may confirm
        self._way: str | None = None
        self._joins: bool | None = None
        self._looks = 0
        self._kept: dict[str, Any] = {}
        self._left_alone = _NONE
        self._identity: tuple[str | None, str | None] = (None, None)
        self._run = Run()
        self._slow_at = 0.0
        self._rare_after = 0.0
        self._recall(way)

    async def read(self, is_deep: bool = False) -> MinerReading:
        """One look. Errors: PollError; UNSUPPORTED, detail `needs pyasic: ...`, where only a library reads it."""
        now = asyncio.get_running_loop().time()
        has_kept = self._make is not None and bool(self._kept)
        try:
            said = await self.listen(now + self._deadline_s, is_deep)
            reading = self._heard(said)
            if has_kept and not self._run.goes_on(reading, now):
                self._make, self._rare_after = None, 0.0
                said = await self.listen(now + self._deadline_s, is_deep)
                reading = self._heard(said)
            reading = self._judged(reading, said, now)
        except PollError as error:
            self._doubt(error)
            raise
        # Whoever looks next connects after the answers that are here have been read: after every system call the
        # interpreter runs cold, at a third of its speed.
        await asyncio.sleep(0)
        return reading

    async def listen(self, deadline_at: float, is_deep: bool = False) -> Said:
        """The answers of one look by a deadline of the loop's clock, those that are kept between looks included.

        In one connection what may be joined, then the rest, needed questions first. Errors: PollError of a needed one.
        """
        said = Said(is_deep=is_deep)
        make = self._make or await self._meet(deadline_at, said)
        if make.login is not None:
            await self._log_in(make, deadline_at)
        is_full = is_deep or not self._looks % SLOW_EVERY
        joined, rest = self._all_that_is_due(make, said) if is_full else self._the_usual(make, said)
        if joined and not await self._ask_joined(joined, said, deadline_at):
            rest = sorted((*joined, *rest), key=_is_extra)
        for ask in rest:
            if not ask.unless or is_deep or not any(name in said for name in ask.unless):
                await self._ask_one(ask, said, deadline_at)
        if is_full:
            self._slow_at = asyncio.get_running_loop().time()
            for name, answer in self._kept.items():
                said.setdefault(name, answer)
        return said

    @property
    def make(self) -> Make | None:
        """What answers here, or last did; None as long as nobody has been recognised."""
        return makes.make_of(_key_of(self._way)) if self._way else None

    async def aclose(self) -> None:
        """Nothing is held between two looks."""

    # --- who it is

    async def _meet(self, deadline_at: float, said: Said) -> Make:
        if self._told is not None:
            identified = Identified(self._told)
        else:
            identified = await identify(self._line, deadline_at, self._known)
        if identified.maker not in makes.KEYS:
            raise PollError(FaultKind.UNSUPPORTED, f"{NEEDS_PYASIC}: {identified.maker or 'unknown'}")
        make = makes.make_of(identified.maker)
        self._start_over()
        if make.key != _key_of(self._way or ""):
            self._way, self._joins, self._rare_after = make.key, None, 0.0
            self._line.log_out()
        self._make, self._known = make, make.key
        for ask in make.asks:
            for heard, answer in identified.answers.items():
                if (heard.via, heard.what, heard.parameter) == (ask.via, ask.what, ask.parameter):
                    self._take_over(said, ask, answer)
        return make

    def _take_over(self, said: Said, ask: Ask, answer: Any) -> None:
        """An answer that identification has heard already; one that refuses is asked for again in its own turn."""
        try:
            self._take(said, ask, hearing.accepted(ask, answer))
        except PollError:
            pass

    def _recall(self, way: str | None) -> None:
        """Take over what an earlier process learned; what cannot be true any more will fail and be learned again."""
        key = _key_of(way or "")
        if way and key in makes.KEYS and self._told in (None, key):
            self._known, self._way = key, way
            self._joins = True if way.endswith(JOINED) else False if way.endswith(SINGLE) else None

    def _start_over(self) -> None:
        """Ask everything again. Who it was is not forgotten: another one there is a fault of the look."""
        self._looks = 0
        self._kept = {}
        self._left_alone = _NONE
        self._run = Run()

    def _doubt(self, error: PollError) -> None:
        """After a look that failed whoever answers says again who it is, as if never met where it answers otherwise."""
        self._make = None
        if error.kind in _NOT_LIKE_IT:
            self._known = None
        if error.kind in _STRANGE:
            self._joins, self._rare_after = None, 0.0
            self._line.log_out()
        if error.kind is FaultKind.IDENTITY:
            self._identity = (None, None)

    # --- what to ask

    def _all_that_is_due(self, make: Make, said: Said) -> Questions:
        """Every tenth look, the first and deep ones: slow questions included."""
        if not self._looks % FORGIVE_EVERY:
            self._left_alone = _NONE
            if self._looks:
                self._kept = {}
        plan = make.regular[self._line.credential is not None]
        is_more = any([self._is_due(ask, said) for ask in make.seldom])  # noqa: C419  a list costs half
        if said or is_more or not self._left_alone.isdisjoint(plan.names):
            plan = plan_of(ask for ask in make.asks if self._is_due(ask, said))
        return (plan.joined, plan.alone) if self._joins is not False else ((), plan.single)

    def _the_usual(self, make: Make, said: Said) -> Questions:
        """Nine looks of ten: what belongs to every one, and nothing that has been decided before."""
        said.update(self._kept)
        plan = make.usual[self._line.credential is not None]
        if not self._left_alone.isdisjoint(plan.names):
            plan = plan_of(ask for ask in plan.single if ask.name not in self._left_alone)
        return (plan.joined, plan.alone) if self._joins else ((), plan.single)

    def _is_due(self, ask: Ask, said: Said) -> bool:
        """Whether a full look asks this: what is kept for good, left alone or was just heard is not asked again."""
        if ask.name in said or (ask.when is When.ONCE and ask.name in self._kept):
            return False
        if ask.when is When.RARE and not said.is_deep and asyncio.get_running_loop().time() < self._rare_after:
            return False
        return self._may_ask(ask) and (ask.when is not When.DEEP or said.is_deep)

    def _may_ask(self, ask: Ask) -> bool:
        return ask.name not in self._left_alone and (not ask.needs_login or self._line.credential is not None)

    async def _ask_joined(self, asks: Sequence[Ask], said: Said, deadline_at: float) -> bool:
        """Whether one connection has answered all; False = this firmware does not join, ask one by one."""
        try:
            reply = await self._line.ask_joined(asks, deadline_at)
        except PollError as error:
            if self._joins is None and error.kind is FaultKind.MALFORMED:
                self._learn(False)
                return False
            if self._joins is None and error.kind is FaultKind.TIMEOUT:
                self._joins = False  # it may have swallowed the question: the next look asks one by one
            if error.kind in _CUT:
                for ask in sorted(asks, key=_is_extra):
                    await self._lack(ask, said, error, deadline_at)
                return True
            raise
        if "STATUS" in reply or not any([ask.what in reply for ask in asks]):  # noqa: C419  a list costs half
            self._learn(False)  # an error, or the answer to the first command alone
            return False
        if self._joins is None:
            self._learn(True)
        if reply.warnings:
            said.warnings += reply.warnings
        for ask in asks:
            part = cgminer.member(reply, ask.what)
            try:
                if not part:
                    raise PollError(FaultKind.UNSUPPORTED, f"{ask.what}: no answer among the joined ones")
                self._take(said, ask, hearing.accepted(ask, part))
            except PollError as error:
                await self._lack(ask, said, error, deadline_at)
        return True

    async def _ask_one(self, ask: Ask, said: Said, deadline_at: float) -> None:
        try:
            self._take(said, ask, await self._line.ask(ask, deadline_at))
        except PollError as error:
            await self._lack(ask, said, error, deadline_at)

    async def _lack(self, ask: Ask, said: Said, error: PollError, deadline_at: float) -> None:
        """Go on without an answer. Errors: that of a needed one, unless the machine says that it is switched off."""
        if ask.is_needed and error.kind in _CUT and await self._is_switched_off(said, deadline_at):
            said.faults[ask.name] = error
        else:
            self._do_without(ask, said, error)

    async def _is_switched_off(self, said: Said, deadline_at: float) -> bool:
        """What the machine says now, not what it said some looks ago."""
        make = self._make
        if make is None or make.excuse is None:
            return False
        ask = next(ask for ask in make.asks if ask.name == make.excuse.name)
        try:
            self._take(said, ask, await self._line.ask(ask, deadline_at))
        except PollError:
            return False
        return make.is_excused(said)

    def _do_without(self, ask: Ask, said: Said, error: PollError) -> None:
        if ask.is_needed or error.kind is FaultKind.IDENTITY:
            raise error
        said.faults[ask.name] = error
        self._kept.pop(ask.name, None)  # what was true ten looks ago is not told for ever
        if ask.when is When.RARE:
            self._put_off_rare()  # refused or not, it is a few hours until the next try
        elif error.kind in _LEFT_ALONE:
            self._left_alone |= {ask.name}

    def _take(self, said: Said, ask: Ask, answer: Any) -> None:
        if ask.what == "version":
            self._check_is_same_make(answer)
        hearing.take(said, ask, answer)
        if ask.is_kept:
            self._kept[ask.name] = said[ask.name]
        elif ask.when is _RARE:
            self._put_off_rare()

    def _put_off_rare(self) -> None:
        self._rare_after = asyncio.get_running_loop().time() + RARE_S

    def _check_is_same_make(self, version: Any) -> None:
        """Custom firmware answers in the words of what it replaces, with other meanings: only its name tells."""
        named = classify(version) if isinstance(version, dict) else None
        if named is not None and self._make is not None and not self._make.key.startswith(named):
            raise PollError(FaultKind.IDENTITY, f"asked as {self._make.name}, answers as {named}")

    def _learn(self, joins: bool) -> None:
        self._joins = joins
        assert self._make is not None
        self._way = self._make.key + (JOINED if joins else SINGLE)

    async def _log_in(self, make: Make, deadline_at: float) -> None:
        assert make.login is not None
        try:
            await self._line.log_in(make.login, deadline_at)
        except PollError:
            if all(ask.needs_login for ask in make.asks if ask.is_needed):
                raise

    # --- what it said

    def _heard(self, said: Said) -> MinerReading:
        assert self._make is not None
        return self._make.read(said)

    def _judged(self, reading: MinerReading, said: Said, now: float) -> MinerReading:
        """The reading, with what only line and past can add. Errors: PollError; IDENTITY for another machine."""
        make = self._make
        assert make is not None
        mac, warnings = reading.mac, reading.warnings
        if mac is None and self._mac_of is not None:
            mac = self._mac_of(self._line.host, now)
            if mac is not None:
                warnings = (*warnings, MAC_OF_NEIGHBOUR)
        before = self._identity
        if _differs(before[0], mac) or _differs(before[1], reading.serial):
            raise PollError(FaultKind.IDENTITY, f"was {before[0] or before[1]}, now {mac or reading.serial}")
        self._identity = (mac or before[0], reading.serial or before[1])
        self._run.note(reading, now)
        self._looks += 1
        reading.driver, reading.mac, reading.way, reading.pace_s = make.key, mac, self._way, make.pace_s
        if warnings or said.warnings:
            reading.warnings = _unique((*warnings, *said.warnings))
        if self._kept and (slow_age_s := round(now - self._slow_at, 1)) > 0.0:
            reading.slow_age_s = slow_age_s
        return reading


def _key_of(way: str) -> str:
    return way.removesuffix(JOINED).removesuffix(SINGLE)


def _is_extra(ask: Ask) -> bool:
    return not ask.is_needed


def _differs(before: str | None, now: str | None) -> bool:
    return before is not None and now is not None and before != now


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
