"""A PDU's part of `hashwatt capture`: all that it has to say about itself, as one standard .snmprec in a folder.

Walked are the system group, the entity table and the tree of every maker that the agent knows, but not what a Linux
below it says of its own (processes, disks, addresses): that is nobody's business and no help. A walk goes in pieces, so
that an agent that loops, falls silent or never ends costs only the rest of that tree, and the manifest says so. All
requests only read. Before anything is written, secrets and identities are replaced (`collectors.pdus.anonymous`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from collectors.captures import MANIFEST
from collectors.pdus.anonymous import anonymous
from collectors.pdus.engines import open_recorder
from collectors.pdus.matching import Recognition, UnknownPdu, recognise, shortlist
from collectors.pdus.profile import ENTERPRISES, Profile
from collectors.pdus.snmp import (
    SYS_DESCR,
    SYS_OBJECT_ID,
    Credential,
    Oid,
    Pace,
    SnmpClient,
    Value,
    WalkLimits,
    format_oid,
    parse_oid,
    printable,
)
from collectors.pdus.snmprec import INTEGER, OBJECT_ID, OCTETS, SUFFIX, Tagged, format_snmprec
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.readings import FaultKind

WALK = f"walk{SUFFIX}"
FIXED_TREES = tuple(map(parse_oid, ("1.3.6.1.2.1.1", "1.3.6.1.6.3.10.2.1", "1.3.6.1.2.1.47.1.1.1", "1.3.6.1.2.1.99")))
"""The system, the engine id (some makers are known by it), what it is made of, and its sensors."""

HOUSEKEEPING = frozenset({2021, 8072})
"""Enterprises of net-snmp itself: the computer below, unless the device has nothing else to be known by."""

ANSWER_S = 1.0
MAX_LEAPS = 64
BAD_BYTES = (FaultKind.MALFORMED, FaultKind.OVERSIZE)
PIECE_ROWS = 200
MAX_ROWS = 60_000
MAX_OCTETS = 16 * 1024 * 1024
MAX_ENTERPRISES = 32
WALK_S = 600.0
PIECE_S = 60.0


@dataclass(slots=True)
class WalkRecording:
    """What one PDU said. `ended`: how the walk of each tree ended, empty = at its end."""

    rows: dict[Oid, Tagged] = field(default_factory=dict)
    ended: dict[Oid, str] = field(default_factory=dict)
    recognition: Recognition | None = None
    near: tuple[Profile, ...] = ()

    @property
    def found(self) -> dict[Oid, Value]:
        return {oid: tagged.value for oid, tagged in self.rows.items()}


Progress = Callable[[Oid, int], None]
"""Told the tree that is walked and how many objects there are by now."""


async def answers(host: str, port: int, credential: Credential) -> bool:
    """Whether anybody speaks SNMP there and lets us in."""
    client = open_recorder(host, port, credential, {}, timeout_s=ANSWER_S)
    try:
        await client.get((SYS_OBJECT_ID, SYS_DESCR))
    except PollError:
        return False
    finally:
        await client.aclose()
    return True


async def record(
    host: str, port: int, credential: Credential, profiles: Sequence[Profile], progress: Progress
) -> WalkRecording:
    """Walk everything that is worth it. Errors: PollError where the PDU answers nothing at all."""
    tags: dict[Oid, int] = {}
    client = open_recorder(host, port, credential, tags)
    try:
        return await _Recorder(client, tags, profiles, progress).record()
    finally:
        await client.aclose()


class _Recorder:
    def __init__(
        self, client: SnmpClient, tags: dict[Oid, int], profiles: Sequence[Profile], progress: Progress
    ) -> None:
        self._client = client
        self._tags = tags
        self._profiles = profiles
        self._progress = progress
        self._recording = WalkRecording()
        self._octets = 0
        self._end_at = asyncio.get_running_loop().time() + WALK_S

    async def record(self) -> WalkRecording:
        recording = self._recording
        self._keep(await self._client.get((SYS_OBJECT_ID, SYS_DESCR)))
        recording.near = shortlist(self._profiles, recording.found)
        if recording.near:
            limits = recording.near[0].limits
            self._client.set_pace(Pace(limits.max_varbinds, limits.max_repetitions, limits.bulk))
        for root in FIXED_TREES:
            await self._walk(root)
        for enterprise in await self._enterprises():
            await self._walk((*ENTERPRISES, enterprise))
        try:
            recording.recognition = recognise(self._profiles, recording.found)
        except UnknownPdu:
            pass  # which is what recordings are for
        return recording

    async def _walk(self, root: Oid) -> None:
        """All of one tree in pieces; in ever smaller ones before a place where the agent fails, and on behind it."""
        after: Oid | None = None
        rows, leaps = PIECE_ROWS, 0
        self._recording.ended[root] = ""
        while True:
            limits = WalkLimits(4 * PIECE_ROWS, MAX_OCTETS, PIECE_S, enough=rows, after=after)
            try:
                piece = await self._client.walk(root, limits)
            except PollError as error:
                if rows > 1 and error.kind in BAD_BYTES:
                    rows = max(1, rows // 8)
                    continue
                self._recording.ended[root] = str(error)
                if error.kind not in BAD_BYTES or after is None or leaps == MAX_LEAPS:
                    return
                after, rows, leaps = _behind(after), PIECE_ROWS, leaps + 1
                self._recording.ended[root] += "; what comes behind is recorded"
                continue
            self._keep(piece)
            self._progress(root, len(self._recording.rows))
            if len(piece) < rows:
                return
            after = max(piece)
            if why := self._limit():
                self._recording.ended[root] = why
                return

    def _limit(self) -> str:
        if len(self._recording.rows) >= MAX_ROWS:
            return f"stopped after {MAX_ROWS} objects"
        if self._octets >= MAX_OCTETS:
            return f"stopped after {MAX_OCTETS} octets"
        if asyncio.get_running_loop().time() >= self._end_at:
            return f"stopped after {WALK_S:g} s"
        return ""

    async def _enterprises(self) -> list[int]:
        """Makers whose trees the agent has, one question for each; and the one that the device calls itself by."""
        own = self._recording.rows.get(SYS_OBJECT_ID)
        said = own.value if own is not None and isinstance(own.value, tuple) else ()
        named = [said[len(ENTERPRISES)]] if said[: len(ENTERPRISES)] == ENTERPRISES and len(said) > 6 else []
        seen: list[int] = []
        after: Oid | None = None
        while len(seen) < MAX_ENTERPRISES:
            try:
                first = await self._client.walk(ENTERPRISES, WalkLimits(enough=1, after=after))
            except PollError:
                break  # an agent that cannot skip a tree; what it calls itself by is left
            if not first:
                break
            seen.append(next(iter(first))[len(ENTERPRISES)])
            after = (*ENTERPRISES, seen[-1], 0xFFFFFFFF)
        makers = [number for number in dict.fromkeys((*named, *seen)) if number not in HOUSEKEEPING]
        return makers or named

    def _keep(self, found: dict[Oid, Value]) -> None:
        for oid, value in found.items():
            self._octets += 8 + (len(value) if isinstance(value, bytes) else 8)
            self._recording.rows[oid] = Tagged(self._tags.get(oid, _usual_tag(value)), value)


def _behind(oid: Oid) -> Oid:
    """Where the next column begins, or the next part of this one, if this object is the last that can be had."""
    return (*oid[:-2], oid[-2] + 1)


def _usual_tag(value: Value) -> int:
    if isinstance(value, tuple):
        return OBJECT_ID
    return INTEGER if isinstance(value, int) else OCTETS


# --- writing ---------------------------------------------------------------------------------------------------------


def files_of(
    recording: WalkRecording, profiles: Sequence[Profile], redactor: Redactor, secrets: Sequence[str]
) -> dict[str, bytes]:
    """The manifest and the walk, by file name, without what they should not tell."""
    taken = [] if recording.recognition is None else [recording.recognition.profile]
    rows = anonymous(recording.rows, [*taken, *recording.near], redactor, secrets)
    manifest = "\n".join([*_manifest(recording, rows, profiles), ""])
    return {MANIFEST: manifest.encode("utf-8", "replace"), WALK: format_snmprec(rows).encode("ascii")}


def _manifest(recording: WalkRecording, rows: dict[Oid, Tagged], profiles: Sequence[Profile]) -> Iterator[str]:
    yield "# Recorded by `hashwatt capture`; secrets and identities are replaced, texts of unknown meaning as well."
    yield f'source = "hashwatt capture"\nrecorded = "{datetime.now(UTC):%Y-%m-%d}"\nkind = "pdu"'
    found = {oid: tagged.value for oid, tagged in rows.items()}
    identity = found.get(SYS_OBJECT_ID)
    if isinstance(identity, tuple):
        yield f"sys_object_id = {json.dumps(format_oid(identity))}"
    if (descr := printable(found.get(SYS_DESCR), 256)) is not None:
        yield f"sys_descr = {_toml(descr)}"
    try:
        yield f"profile = {_toml(recognise(profiles, found).profile.id)}"
    except UnknownPdu:
        yield "# no profile knows it: docs/adding-a-pdu.md"
    yield f"objects = {len(rows)}\nfile = {_toml(WALK)}"
    for root, ended in recording.ended.items():
        count = sum(oid[: len(root)] == root for oid in rows)
        if count or ended:
            yield f"\n[[tree]]\nroot = {_toml(format_oid(root))}\nobjects = {count}"
            yield from ([f"ended = {_toml(ended)}"] if ended else [])


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def report(recording: WalkRecording, out: str) -> Iterator[str]:
    """What was recorded, for people."""
    known = recording.recognition
    who = "a PDU that no profile knows" if known is None else f"a PDU of the profile {known.profile.id}"
    yield f"{out}: {len(recording.rows):,} objects of {who}"
    for root, ended in recording.ended.items():
        count = sum(oid[: len(root)] == root for oid in recording.rows)
        if count or ended:
            yield f"  {format_oid(root):<32}{count:>9,} objects{f'; {ended}' if ended else ''}"
    if known is None:
        yield f"Next: a profile of your own (docs/adding-a-pdu.md), tried by `hashwatt pdu test PROFILE.toml {out}`."


def show_progress(root: Oid, count: int) -> None:
    """One line that is written over and over, where somebody is looking."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K  {format_oid(root)}: {count:,} objects")
        sys.stderr.flush()


def end_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
