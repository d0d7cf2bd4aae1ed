"""Which family a PDU belongs to: identity prefix, then description, then what only one family answers.

What a device says of itself is taken without a probe only if no other device says the same. A description proves a
family beside the family's own identity, or where there is no identity worth the name: a UPS calls its card what a PDU
calls it, and says in its identity what it is.

Sans-IO: `shortlist` says whose probes are worth asking for, `recognise` decides on what was found, live or in a walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.pdus.profile import ENTERPRISES, Profile
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, format_oid, parse_oid, printable
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_DESCR = 512

GENERIC_AGENTS: tuple[Oid, ...] = ((*ENTERPRISES, 8072), (*ENTERPRISES, 2021))
"""net-snmp and its forerunner: whoever leaves their identity as it came says nothing of the device."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """A profile and the words why."""

    profile: Profile
    why: str


class UnknownPdu(PollError):
    """A device that answers and that no profile knows, with what it says of itself: () and "" where it is silent."""

    def __init__(self, identity: Oid, descr: str) -> None:
        super().__init__(
            FaultKind.UNSUPPORTED,
            f"unknown PDU: sysObjectID {format_oid(identity)[:60] if identity else 'none'}, "
            f"sysDescr {descr[:60] or 'none'}; docs/adding-a-pdu.md makes it known",
        )
        self.identity = identity
        self.descr = descr


def shortlist(profiles: Iterable[Profile], found: Mapping[Oid, Value]) -> tuple[Profile, ...]:
    """Profiles that the device's own words point at: longest prefix first, then those by description."""
    ranked: list[tuple[tuple[int, int, int], Profile]] = []
    identity, descr = identity_of(found), _descr(found)
    for profile in profiles:
        match = profile.match
        if _is_excluded(profile, descr):
            continue
        if length := _prefix(profile, identity):
            ranked.append(((0, -length, -match.priority), profile))
        elif match.sys_descr is not None and match.sys_descr.search(descr):
            ranked.append(((1, 0, -match.priority), profile))
    return tuple(profile for _, profile in sorted(ranked, key=lambda entry: entry[0]))


def recognise(profiles: Sequence[Profile], found: Mapping[Oid, Value], *, is_all: bool = True) -> Recognition:
    """The family by what was found. Errors: PollError UNSUPPORTED, in words for an operator.

    `is_all`: every probe of every family was asked for. Before that no silence speaks for a mere description.
    """
    near = shortlist(profiles, found)
    for profile in near:
        if said := _evidence(profile, found):
            return Recognition(profile, f"{_words(profile, found)} and {said}")
    identity, descr = identity_of(found), _descr(found)
    for profile in near:
        if _is_proven(profile, identity, descr):
            return Recognition(profile, _words(profile, found) + _silence(profile))
    if is_all:
        for profile in sorted(profiles, key=lambda p: -p.match.priority):
            if not _is_excluded(profile, descr) and (said := _evidence(profile, found)):
                return Recognition(profile, said)
        for profile in near:
            if _is_described(profile, identity, descr):
                return Recognition(profile, _words(profile, found) + _silence(profile))
    raise UnknownPdu(identity, descr)


def probes(profiles: Iterable[Profile]) -> tuple[Oid, ...]:
    """Objects whose mere answer speaks for one of these."""
    oids = (oid for p in profiles for oid in (*p.match.probe, *(text.oid for text in p.match.probe_text)))
    return tuple(dict.fromkeys(oids))


def _prefix(profile: Profile, identity: Oid) -> int:
    """Parts of the longest identity prefix that fits; compared part by part, so `4.6` is no prefix of `4.60`."""
    return max((len(p) for p in profile.match.sys_object_id if identity[: len(p)] == p), default=0)


def _is_excluded(profile: Profile, descr: str) -> bool:
    return profile.match.excludes is not None and profile.match.excludes.search(descr) is not None


def _is_proven(profile: Profile, identity: Oid, descr: str) -> bool:
    """Whether identity and description prove the family though no probe of it answers."""
    match = profile.match
    if _prefix(profile, identity):
        return not match.needs_probe or (match.sys_descr is not None and match.sys_descr.search(descr) is not None)
    return _is_described(profile, identity, descr) and not _has_probes(profile)


def _is_described(profile: Profile, identity: Oid, descr: str) -> bool:
    """Whether the description alone may prove the family: where no other device has it, nor another identity."""
    match = profile.match
    is_alone = not match.needs_probe and not _is_specific(identity)
    return is_alone and match.sys_descr is not None and match.sys_descr.search(descr) is not None


def _is_specific(identity: Oid) -> bool:
    """Whether an identity names a product: more than a maker's bare number, below 1.3.6.1.4.1, and no agent's own."""
    is_bare = identity[: len(ENTERPRISES)] != ENTERPRISES or len(identity) <= len(ENTERPRISES) + 1
    return not is_bare and not any(identity[: len(agent)] == agent for agent in GENERIC_AGENTS)


def _has_probes(profile: Profile) -> bool:
    return bool(profile.match.probe or profile.match.probe_text or profile.match.probe_under)


def _silence(profile: Profile) -> str:
    return "; none of its probes answers" if _has_probes(profile) else ""


def _evidence(profile: Profile, found: Mapping[Oid, Value]) -> str:
    """What speaks for the profile besides what the device says of itself, in words; empty if nothing does."""
    match = profile.match
    for oid in match.probe:
        if found.get(oid, b"") != b"":  # some agents answer whatever they are asked, with nothing
            return f"{format_oid(oid)} answers"
    for text in match.probe_text:
        value = found.get(text.oid)
        if isinstance(value, bytes) and text.contains.encode() in value:
            return f"{format_oid(text.oid)} contains {text.contains!r}"
    for root in match.probe_under:
        if any(oid[: len(root)] == root for oid in found):
            return f"{format_oid(root)} has rows"
    return ""


def _words(profile: Profile, found: Mapping[Oid, Value]) -> str:
    identity = identity_of(found)
    if _prefix(profile, identity):
        return f"sysObjectID {format_oid(identity)}"
    return f"sysDescr {_descr(found)[:100]!r}"


def identity_of(found: Mapping[Oid, Value]) -> Oid:
    """sysObjectID, also where an agent sends it as text; () if there is none."""
    identity = found.get(SYS_OBJECT_ID)
    if isinstance(identity, tuple):
        return identity
    try:
        return parse_oid(printable(identity) or "")
    except ValueError:
        return ()


def _descr(found: Mapping[Oid, Value]) -> str:
    return printable(found.get(SYS_DESCR), limit=MAX_DESCR) or ""
