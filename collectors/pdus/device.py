"""One PDU at one address: finds its profile, reads it whole now and then and only what changes in between.

A full read finds the profile, walks the few columns that tell which rows exist and asks for every object of every row.
The reads between ask only for what changes from poll to poll and that the device has. A restart of the device
(sysUpTime falls) leads to a full read at once, for rows and identity may be others now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from collectors.pdus.profile import Profile, ProfileError, answers, candidates, decode, packaged_profiles
from collectors.pdus.snmp import (
    SYS_DESCR,
    SYS_OBJECT_ID,
    SYS_UPTIME,
    Credential,
    Oid,
    Pace,
    SnmpClient,
    Value,
    format_oid,
    printable,
)
from fleet.ports import PollError
from fleet.readings import FaultKind, PduReading

AUTO = "auto"
FULL_READ_EVERY = 20
"""Reads per full read: names, energy and new outlets are seen within ten minutes at a 30 s interval."""

TICKS_PER_HOUR = 360_000
TICKS_WRAP = 2**32


class SnmpPdu:
    """A PDU over SNMP; implements `fleet.ports.Pdu`.

    `profile` is the id of a profile, or "auto" to find it from what the device says. One request is in flight at a
    time; `deadline_s` bounds one whole read.
    Errors: ProfileError at construction for an id that no profile has; PollError from `read`.
    """

    def __init__(
        self,
        host: str,
        port: int = 161,
        deadline_s: float = 10.0,
        community: str = "public",
        profile: str = AUTO,
        *,
        profiles: Sequence[Profile] | None = None,
        client: SnmpClient | None = None,
        full_read_every: int = FULL_READ_EVERY,
    ) -> None:
        self._profiles = packaged_profiles() if profiles is None else tuple(profiles)
        known = {p.id: p for p in self._profiles}
        if profile != AUTO and profile not in known:
            raise ProfileError(f"no PDU profile {profile!r}; known: {AUTO}, {', '.join(known)}")
        self._fixed = known.get(profile)
        self._client = client if client is not None else _client(host, port, Credential(community))
        self._deadline_s = deadline_s
        self._full_read_every = full_read_every
        self._turn = asyncio.Lock()
        self._forget()

    async def read(self) -> PduReading:
        """One look. Errors: PollError; TIMEOUT past the deadline, UNSUPPORTED if no profile fits."""
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return await self._read()
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, f"no complete answer within {self._deadline_s:g} s") from None

    async def aclose(self) -> None:
        await self._client.aclose()

    def _forget(self) -> None:
        self._profile: Profile | None = None
        self._steady: dict[Oid, Value] = {}
        self._fast: tuple[Oid, ...] = ()
        self._uptime_ticks: int | None = None
        self._reads_left = 0

    async def _read(self) -> PduReading:
        if self._profile is not None and self._reads_left > 0:
            found = await self._client.get(self._fast)
            if not has_restarted(self._uptime_ticks, found.get(SYS_UPTIME)):
                self._reads_left -= 1
                self._note_uptime(found)
                return decode(self._profile, self._steady | found)
        return await self._read_all()

    async def _read_all(self) -> PduReading:
        self._forget()
        profile = self._fixed or await self._find_profile()
        limits = profile.limits
        self._client.set_pace(Pace(limits.max_varbinds, limits.max_repetitions, limits.bulk))
        found: dict[Oid, Value] = {}
        for table in profile.tables:
            for root in table.rows:
                if rows := await self._client.walk(root):
                    found |= rows
                    break
        found |= await self._client.get(tuple(dict.fromkeys((*profile.scalars(), *profile.cells(found)))))
        self._profile = profile
        self._fast = profile.fast_cells(found)
        self._steady = {oid: value for oid, value in found.items() if not profile.is_fast(oid)}
        self._reads_left = self._full_read_every - 1
        self._note_uptime(found)
        return decode(profile, found)

    async def _find_profile(self) -> Profile:
        probes = [oid for profile in self._profiles for oid in profile.match.probe]
        found = await self._client.get((SYS_OBJECT_ID, SYS_DESCR, *probes))
        return _fitting(self._profiles, found)

    def _note_uptime(self, found: Mapping[Oid, Value]) -> None:
        ticks = found.get(SYS_UPTIME)
        if isinstance(ticks, int):
            self._uptime_ticks = ticks


def read_walk(walk: Mapping[Oid, Value], profiles: Sequence[Profile] | None = None) -> PduReading:
    """The reading of a PDU from a saved walk. Errors: PollError UNSUPPORTED if no profile fits."""
    return decode(_fitting(packaged_profiles() if profiles is None else profiles, walk), walk)


def _fitting(profiles: Sequence[Profile], found: Mapping[Oid, Value]) -> Profile:
    """The first profile that the device's own words and the probes of the profile agree on. Errors: UNSUPPORTED."""
    identity, descr = found.get(SYS_OBJECT_ID), printable(found.get(SYS_DESCR), limit=512)
    sys_object_id = identity if isinstance(identity, tuple) else None
    for profile in candidates(profiles, sys_object_id, descr):
        if answers(profile, found):
            return profile
    said = format_oid(sys_object_id)[:100] if sys_object_id else "none"
    raise PollError(FaultKind.UNSUPPORTED, f"unknown PDU: sysObjectID {said}, sysDescr {(descr or 'none')[:100]}")


def has_restarted(before: int | None, now: Value | None) -> bool:
    """Whether sysUpTime (ticks of 10 ms) fell. It wraps after 497 days, so a fall from the last hour is none."""
    if before is None or not isinstance(now, int):
        return False
    return now < before < TICKS_WRAP - TICKS_PER_HOUR


def _client(host: str, port: int, credential: Credential) -> SnmpClient:
    # Imported here: a farm without PDUs never pays for an SNMP library, and a test can bring its own client.
    from collectors.pdus.pysnmp_client import PysnmpClient

    return PysnmpClient(host, port, credential)
