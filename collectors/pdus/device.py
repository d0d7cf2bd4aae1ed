"""One PDU at one address: finds its profile, reads it whole now and then and only what changes in between.

A full read finds the profile, walks the few columns that tell which rows exist and asks for every object of every row.
The reads between ask only for what changes from poll to poll and that the device has. A restart of the device
(sysUpTime falls) leads to a full read at once, for rows and identity may be others now; an object that no longer
answers leads to one at the next look, for what stood behind it as a fallback has not been asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from collectors.pdus.engines import open_client
from collectors.pdus.layout import Layout, roots, survey
from collectors.pdus.matching import Recognition, probes, recognise, shortlist
from collectors.pdus.profile import Profile, ProfileError, packaged_profiles
from collectors.pdus.snmp import (
    SYS_DESCR,
    SYS_OBJECT_ID,
    SYS_UPTIME,
    Credential,
    EngineName,
    Oid,
    Pace,
    SnmpClient,
    Value,
    WalkLimits,
)
from fleet.ports import PollError
from fleet.readings import FaultKind, PduReading

AUTO = "auto"
FULL_READ_EVERY = 20
"""Reads per full read: names, energy and new outlets are seen within ten minutes at a 30 s interval."""

MAX_EARLY_READS = 3
"""Full reads between two regular ones, for restarts and for objects that are gone: some agents do both all the time."""

TICKS_PER_HOUR = 360_000
TICKS_WRAP = 2**32

UNSTEADY_UPTIME = "uptime.unsteady"

_ONE = WalkLimits(enough=1)


@dataclass(frozen=True, slots=True)
class FullRead:
    """Everything that one full read heard: what the command line shows and tests compare."""

    recognition: Recognition
    layout: Layout
    found: Mapping[Oid, Value]


class SnmpPdu:
    """A PDU over SNMP; implements `fleet.ports.Pdu`.

    `profile` is the id of a profile, or "auto" to find it from what the device says. One request is in flight at a
    time; `deadline_s` bounds one whole read. The second full read comes `head_start` reads sooner than the others.
    Errors: ProfileError at construction for an id that no profile has; PollError from `read`.
    """

    def __init__(
        self,
        host: str,
        port: int = 161,
        deadline_s: float = 10.0,
        credential: Credential | None = None,
        profile: str = AUTO,
        *,
        engine: EngineName = "auto",
        profiles: Sequence[Profile] | None = None,
        client: SnmpClient | None = None,
        full_read_every: int = FULL_READ_EVERY,
        head_start: int = 0,
    ) -> None:
        self._profiles = chosen(packaged_profiles() if profiles is None else profiles, profile)
        self._is_told = profile != AUTO
        self._client = client or open_client(host, port, credential or Credential("public"), engine)
        self._deadline_s = deadline_s
        self._full_read_every = full_read_every
        self.head_start = head_start % full_read_every
        self._turn = asyncio.Lock()
        self._paced_for: Profile | None = None
        self._early_reads_left = MAX_EARLY_READS
        self._forget()

    @property
    def engine(self) -> str:
        """The library that speaks SNMP."""
        return self._client.engine

    async def read(self) -> PduReading:
        """One look. Errors: PollError; TIMEOUT past the deadline, UNSUPPORTED if no profile fits."""
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return replace(await self._read(), engine=self._client.engine)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, f"no complete answer within {self._deadline_s:g} s") from None

    async def read_everything(self) -> FullRead:
        """A full read with all that it heard. Errors: as `read`."""
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return await self._read_all()
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, f"no complete answer within {self._deadline_s:g} s") from None

    async def aclose(self) -> None:
        await self._client.aclose()

    def _forget(self) -> None:
        self._layout: Layout | None = None
        self._has_lost = False
        self._uptime_ticks: int | None = None
        self._reads_left = 0

    async def _read(self) -> PduReading:
        layout = self._layout
        if layout is None or self._reads_left == 0:
            self._early_reads_left = MAX_EARLY_READS
            return _reading(await self._read_all())
        if self._has_lost:
            return _reading(await self._read_all())
        found = await self._client.get(layout.fast)
        is_restarted = has_restarted(self._uptime_ticks, found.get(SYS_UPTIME))
        if is_restarted and self._may_read_early():
            return _reading(await self._read_all())
        self._reads_left -= 1
        self._note_uptime(found)
        self._has_lost = len(found) < len(layout.fast) and self._may_read_early()
        reading = layout.read(layout.with_steady(found))
        return _warned(reading, UNSTEADY_UPTIME) if is_restarted else reading

    def _may_read_early(self) -> bool:
        """Takes one of the few full reads that a device may ask for by what it does."""
        if self._early_reads_left == 0:
            return False
        self._early_reads_left -= 1
        return True

    async def _read_all(self) -> FullRead:
        self._forget()
        recognition, found = await self._recognise()
        profile = recognition.profile
        if profile is not self._paced_for:  # else the client remembers what this device can carry
            limits = profile.limits
            self._client.set_pace(Pace(limits.max_varbinds, limits.max_repetitions, limits.bulk))
            self._paced_for = profile
        walked: dict[Oid, bool] = {}
        for table in profile.tables:
            for root in roots(table):
                if root not in walked:
                    rows = await self._client.walk(root)
                    walked[root] = bool(rows)
                    found |= rows
                if walked[root]:
                    break
        layout = survey(profile, found)
        wanted = (oid for oid in dict.fromkeys(layout.wanted()) if oid not in found or oid == SYS_UPTIME)
        found |= await self._client.get(tuple(wanted))
        layout.settle(found)
        self._layout = layout
        self._reads_left = self._full_read_every - 1 - self.head_start
        self.head_start = 0
        self._note_uptime(found)
        return FullRead(recognition, layout, found)

    async def _recognise(self) -> tuple[Recognition, dict[Oid, Value]]:
        """Asks for the probes of the families that the device's own words point at, then for those of all."""
        found = await self._client.get((SYS_OBJECT_ID, SYS_DESCR))
        near = shortlist(self._profiles, found)
        for group in (near, [profile for profile in self._profiles if profile not in near]):
            found |= await self._client.get(probes(group))
            for root in dict.fromkeys(root for profile in group for root in profile.match.probe_under):
                found |= await self._client.walk(root, _ONE)
            try:
                return self._recognised(found, is_all=group is not near), found
            except PollError:
                continue
        return self._recognised(found), found

    def _recognised(self, found: Mapping[Oid, Value], *, is_all: bool = True) -> Recognition:
        try:
            return recognise(self._profiles, found, is_all=is_all)
        except PollError:
            if self._is_told:
                return Recognition(self._profiles[0], "the configuration says so")
            raise

    def _note_uptime(self, found: Mapping[Oid, Value]) -> None:
        ticks = found.get(SYS_UPTIME)
        if isinstance(ticks, int):
            self._uptime_ticks = ticks


def chosen(profiles: Sequence[Profile], wanted: str) -> tuple[Profile, ...]:
    """All profiles for "auto", else those with this id: one, or one for each of its roots. Errors: ProfileError."""
    kept = tuple(profile for profile in profiles if wanted in (AUTO, profile.id))
    if not kept:
        known = ", ".join(dict.fromkeys(profile.id for profile in profiles))
        raise ProfileError(f"no PDU profile {wanted!r}; known: {AUTO}, {known}")
    return kept


def replay(walk: Mapping[Oid, Value], profiles: Sequence[Profile] | None = None, wanted: str = AUTO) -> FullRead:
    """A full read of a saved walk. Errors: PollError UNSUPPORTED if no profile fits, ProfileError for an unknown id."""
    candidates = chosen(packaged_profiles() if profiles is None else profiles, wanted)
    try:
        recognition = recognise(candidates, walk)
    except PollError:
        if wanted == AUTO:
            raise
        recognition = Recognition(candidates[0], "told so")
    return FullRead(recognition, survey(recognition.profile, walk), walk)


def read_walk(walk: Mapping[Oid, Value], profiles: Sequence[Profile] | None = None) -> PduReading:
    """The reading of a PDU from a saved walk. Errors: PollError UNSUPPORTED if no profile fits."""
    full = replay(walk, profiles)
    return full.layout.read(walk)


def _reading(full: FullRead) -> PduReading:
    return full.layout.read(full.found)


def _warned(reading: PduReading, warning: str) -> PduReading:
    return replace(reading, warnings=(*reading.warnings, warning))


def has_restarted(before: int | None, now: Value | None) -> bool:
    """Whether sysUpTime (ticks of 10 ms) fell. It wraps after 497 days, so a fall from the last hour is none."""
    if before is None or not isinstance(now, int):
        return False
    return now < before < TICKS_WRAP - TICKS_PER_HOUR
