"""Recorded machines: a folder of replies, which question each answers, and the reading that they give together.

A folder tells by its `capture.toml` what its files are; else by a `MANIFEST.tsv` beside or above it; else by the names
of its files alone, for recordings of others know nothing of us. Then names are compared without their punctuation
(`miner_hw_hashboards` is `/api/v1/miner/hw/hashboards`), words that only say how a file came to be are dropped, and
what a reply looks like decides the rest. Replies are kept as bytes: what is broken in them is part of the recording.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from collectors.miners import hearing, makes
from collectors.miners.identify import Identified, classify, steps
from collectors.miners.make import RPC_PORT, Ask, Credential, Make, Via
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

MANIFEST = "capture.toml"
FOREIGN_MANIFEST = "MANIFEST.tsv"
EXPECTED = "expected.toml"

MAX_FILES = 200
MAX_FILE_BYTES = 4 * 1024 * 1024
REPLY_SUFFIXES = (".json", ".txt", ".html", ".cgi", ".bin", "")


class CaptureError(ValueError):
    """A folder that is no capture; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes of one answer and the question behind them, as far as anybody said: None = nobody did.

    `is_variant`: no part of the machine's reading; the same question in another state, or a write that we never send.
    """

    name: str
    raw: bytes
    file: str
    via: Via | None = None
    port: int | None = None
    what: str | None = None
    parameter: str | None = None
    method: str = "GET"
    body: str | None = None
    extra: tuple[tuple[str, bool | int | str], ...] = ()
    needs_login: bool = False
    is_variant: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """How the recorded machine asked for a login: `digest` with its realm, or `token`, which `path` gave out in
    `answer`."""

    kind: str
    realm: str = ""
    path: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """One recorded machine. `joins` None = nobody knows whether it takes joined commands. `about` = source, licence,
    firmware, model and whatever else the folder says of itself."""

    folder: Path
    replies: tuple[Reply, ...]
    variants: tuple[Reply, ...] = ()
    joins: bool | None = None
    gate: Gate | None = None
    make: str | None = None
    about: Mapping[str, str] = field(default_factory=dict)

    def find(self, ask: Ask) -> Reply | None:
        """The reply to a question; None where it was not recorded."""
        for is_it in (_is_said_to_answer, _is_named_like, _ends_like):
            if (reply := next((r for r in self.replies if is_it(r, ask)), None)) is not None:
                return reply
        return None

    def answer(self, ask: Ask) -> Any:
        """What the machine would answer. Errors: PollError as a live one would give it for what was not recorded."""
        if (reply := self.find(ask)) is not None:
            return hearing.hear(ask, reply.raw)
        if ask.is_text and self.gate is not None and self.gate.kind == "digest":
            return f'HTTP/1.1 401\r\nwww-authenticate: Digest realm="{self.gate.realm}"\r\n\r\n'
        spoken = {_via_of(reply) for reply in self.replies if reply.port in (None, ask.port)}
        if ask.via is Via.RPC and Via.RPC in spoken:
            return hearing.hear(ask, refusal(ask.what))
        if spoken:
            said = "speaks HTTP on this port" if ask.via is Via.RPC else "not recorded"
            if ask.via is not Via.RPC or any(reply.port == RPC_PORT for reply in self.replies):
                raise PollError(FaultKind.UNSUPPORTED, f"{ask.what}: {said}")
        raise PollError(FaultKind.REFUSED, f"nothing recorded on port {ask.port}")

    def raw_of(self, make: Make) -> dict[str, bytes]:
        """Bytes by the name of the question that they answer, as `hearing.said_from` takes them."""
        if len(make.asks) == len(self.replies) == 1 and self.replies[0].via is None:
            return {make.asks[0].name: self.replies[0].raw}  # one question and one answer, whatever it is called
        found = ((ask.name, self.find(ask)) for ask in make.asks)
        return {name: reply.raw for name, reply in found if reply is not None}


def refusal(command: str) -> bytes:
    """How the cgminer API answers a command that it does not have."""
    status = {"STATUS": "E", "When": 0, "Code": 14, "Msg": "Invalid command", "Description": command}
    return orjson.dumps({"STATUS": [status], "id": 1})


# --- reading ---------------------------------------------------------------------------------------------------------


def read_capture(capture: Capture, make: str | None = None) -> MinerReading:
    """The reading that the recorded machine gives to somebody who asks everything.

    `make` names its make where the folder cannot tell. What was not recorded is left out; a needed answer that is there
    and says no fails the look, as it does live. Errors: PollError; UNSUPPORTED for a machine that we do not read
    ourselves or that nothing in the folder names.
    """
    key = make or identified(capture)
    if key not in makes.KEYS:
        raise PollError(FaultKind.UNSUPPORTED, f"not read natively: {key or 'unknown'}")
    known = makes.make_of(key)
    said = hearing.said_from(known, capture.raw_of(known), is_deep=True)
    refused = next((said.faults[a.name] for a in known.asks if a.is_needed and a.name in said.faults), None)
    if refused is not None and not known.is_excused(said):
        raise refused
    reading = known.read(said)
    warnings = tuple(dict.fromkeys((*reading.warnings, *said.warnings)))
    return replace(reading, warnings=warnings, way=known.key, pace_s=known.pace_s)


def settled(capture: Capture) -> Capture:
    """The same recording with its questions named, as its make asks them, where nobody said how a reply travelled."""
    key = None if all(reply.via is not None for reply in capture.replies) else identified(capture)
    if key not in makes.KEYS:
        return capture
    make = makes.make_of(key)
    found = ((ask, capture.find(ask)) for ask in make.asks)
    asked = {reply.file: ask for ask, reply in reversed(list(found)) if reply is not None}
    gate = capture.gate
    if gate is None and make.login is not None:
        gate = Gate("token", path=make.login.ask(Credential("", "")).what, answer=_ANY_TOKEN)
    replies = tuple(_asked_as(reply, asked.get(reply.file)) for reply in capture.replies)
    return replace(capture, replies=replies, gate=gate)


_ANY_TOKEN = '{"STATUS":[{"STATUS":"S"}],"token":"REDACTED","Token":[{"Token":"REDACTED"}]}'  # noqa: S105
"""A login's answer that every make understands, for recordings without one."""


def _asked_as(reply: Reply, ask: Ask | None) -> Reply:
    if ask is None or reply.via is not None:
        return reply
    return replace(
        reply,
        name=ask.name,
        via=ask.via,
        port=ask.port,
        what=ask.what,
        parameter=ask.parameter,
        method="GET" if ask.body is None else "POST",
        body=None if ask.body is None else ask.body.decode(),
        extra=ask.extra,
    )


def identified(capture: Capture) -> str | None:
    """Key of the make, or a word for one that only a library reads: the live machine's questions, asked of the folder.

    Folders of one reply or two cannot answer them: then any reply that names a maker, then the folder itself, decides.
    """
    found: str | None = None
    try:
        found = _identify(capture).maker
    except PollError:
        pass  # as a live machine that refuses
    return found or _named_in(capture.replies) or capture.make


def _identify(capture: Capture) -> Identified:
    asking = steps(has_login=any(reply.needs_login for reply in capture.replies))
    try:
        ask = next(asking)
        while True:
            answer: Any
            try:
                answer = capture.answer(ask)
            except PollError as error:
                answer = error
            ask = asking.send(answer)
    except StopIteration as done:
        said: Identified = done.value
        return said


_SIGNS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("epic", (b'"StratumConfigs"', b"PowerPlay")),
    ("axeos", (b'"ASICModel"', b'"smallCoreCount"')),
    ("braiins_rest", (b'"bosminer_uptime_s"', b'"approximated_consumption"')),
    ("braiins", (b'"bosminer"',)),
    ("proto", (b'"mining-status"',)),
    ("whatsminer_v3", (b'"fast-boot"', b'"hash-realtime"')),
    ("luxos", (b'"CurtailMode"',)),
    ("vnish", (b'"miner_status"',)),
    ("mara", (b'"hashrate_realtime"',)),
    ("sealminer", (b'"PM State"',)),
    ("auradine", (b'"IPReport"',)),
    ("avalon", (b'"MM ID',)),
    ("whatsminer", (b'"Chip Temp Avg"',)),
)
"""What only one firmware says, for folders that hold too little to be asked; custom firmware before its hosts."""


def _named_in(replies: tuple[Reply, ...]) -> str | None:
    everything = b"\n".join(reply.raw for reply in replies)
    for firmware, signs in _SIGNS:
        if any(sign in everything for sign in signs):
            return firmware
    values = (_decoded(reply.raw) for reply in replies)
    return next((maker for value in values if value and (maker := classify(value))), None)


# --- which reply answers which question ------------------------------------------------------------------------------

_PUNCTUATION = re.compile(r"[^a-z0-9]+")
_NOISE = frozenset(
    {"captured", "capture", "response", "reply", "synthetic", "raw", "real", "sample", "example", "output", "json"}
    | {"cgi", "bin", "api", "v1", "v2", "rpc", "web", "http", "tcp", "cmd", "command"}
)


def _is_said_to_answer(reply: Reply, ask: Ask) -> bool:
    """By what a manifest says: the same question, or at least its name where several share one address (GraphQL)."""
    if reply.via is None or reply.via is not ask.via:
        return False
    if ask.body is not None or reply.method == "POST":
        return reply.name == ask.name and reply.what in (None, ask.what)
    if reply.what is None:
        return reply.name == ask.name
    return (reply.what, reply.parameter, reply.extra) == (ask.what, ask.parameter, ask.extra)


def _is_named_like(reply: Reply, ask: Ask) -> bool:
    """By the name of the file, without words that only say how it came to be."""
    if not _may_answer(reply, ask):
        return False
    return reply.name == ask.name or (not _is_a_command(reply, ask) and bool(_spellings(reply.name) & _asked(ask)))


def _ends_like(reply: Reply, ask: Ask) -> bool:
    """By the end of the name: `s21_hydro_web_stats` are stats of some machine."""
    if not _may_answer(reply, ask) or ask.extra or _is_a_command(reply, ask):
        return False
    words = _words(reply.name)
    ends = {"".join(words[start:]) for start in range(1, len(words))}
    return bool(ends & _asked(ask))


def _may_answer(reply: Reply, ask: Ask) -> bool:
    via = _via_of(reply)
    return reply.via is None and (via is None or via is ask.via)


def _is_a_command(reply: Reply, ask: Ask) -> bool:
    """Whether a page is asked for, and this is more likely the answer to the command of the same name."""
    return ask.via is Via.HTTP and _via_of(reply) is None


def _asked(ask: Ask) -> set[str]:
    what = f"{ask.what} {ask.parameter or ''}"
    path = what.partition("?")[0]
    return _spellings(ask.name) | (set() if ask.body is not None or ask.extra else _spellings(what) | _spellings(path))


def _spellings(name: str) -> set[str]:
    """A name without punctuation, and without noise; never nothing."""
    return {"".join(_PUNCTUATION.split(name.lower())), "".join(_words(name))} - {""}


def _words(name: str) -> list[str]:
    return [word for word in _PUNCTUATION.split(name.lower()) if word and word not in _NOISE]


def _via_of(reply: Reply) -> Via | None:
    """How a reply travelled: as somebody said, as its name says, as it looks. None = it may be either."""
    if reply.via is not None:
        return reply.via
    words = _PUNCTUATION.split(reply.name.lower())
    if "rpc" in words:
        return Via.RPC
    if "web" in words or "http" in words or "gql" in words or "cgi" in words:
        return Via.HTTP
    value = _decoded(reply.raw)
    if value is None:
        return None
    if {"code", "msg"} <= value.keys():
        return Via.FRAMED
    if "INFO" in value:  # the web pages of cgminer's descendants have a STATUS, too, and this beside it
        return Via.HTTP
    return None if "STATUS" in value else Via.HTTP


def _decoded(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


# --- loading ---------------------------------------------------------------------------------------------------------


def load(folder: Path) -> Capture:
    """The capture in a folder, or of one file. Errors: CaptureError for what is none."""
    if not folder.is_dir() and not folder.is_file():
        raise CaptureError(f"{folder} is neither a folder nor a file")
    try:
        if folder.is_file():
            capture = _of_paths(folder.parent, [folder])
        elif (folder / MANIFEST).is_file():
            capture = _by_manifest(folder, tomllib.loads((folder / MANIFEST).read_text("utf-8")))
        else:
            capture = _by_table(folder) or _by_names(folder)
    except OSError as error:
        raise CaptureError(f"{folder}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaptureError(f"{folder / MANIFEST}: {error}") from None
    if not capture.replies:
        raise CaptureError(f"{folder} holds no reply of a machine")
    return capture


def _by_manifest(folder: Path, said: dict[str, Any]) -> Capture:
    about = {key: value for key, value in said.items() if isinstance(value, str)}
    joins, gate = said.get("joins"), said.get("login")
    if joins is not None and not isinstance(joins, bool):
        raise CaptureError(f"{folder / MANIFEST}: joins is true or false")
    return Capture(
        folder,
        tuple(_entries(folder, said, "reply")),
        tuple(_entries(folder, said, "variant")),
        joins=joins,
        gate=Gate(**{key: str(gate.get(key, "")) for key in ("kind", "realm", "path", "answer")})
        if isinstance(gate, dict)
        else None,
        make=about.get("make"),
        about=about,
    )


_OPTIONAL = {"port": int, "what": str, "parameter": str, "method": str, "body": str, "needs_login": bool}


def _entries(folder: Path, said: dict[str, Any], table: str) -> Iterator[Reply]:
    rows = said.get(table, [])
    where = f"{folder / MANIFEST}: {table}"
    if not isinstance(rows, list):
        raise CaptureError(f"{where} is a list of tables")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("name", "file", "via")):
            raise CaptureError(f"{where} {number} needs name, via and file")
        for key, kind in _OPTIONAL.items():
            if key in row and not isinstance(row[key], kind):
                raise CaptureError(f"{where} {number}: {key} is of another type")
        if row["via"] not in {via.value for via in Via}:
            raise CaptureError(f"{where} {number}: via is one of {', '.join(via.value for via in Via)}")
        given = {key: row[key] for key in _OPTIONAL if key in row}
        extra = row.get("extra", {})
        if not isinstance(extra, dict) or not all(isinstance(value, bool | int | str) for value in extra.values()):
            raise CaptureError(f"{where} {number}: extra is a table of keys beside the command")
        path = folder / row["file"]
        if path.parent != folder or not path.is_file():
            raise CaptureError(f"{where} {number}: there is no file {row['file']!r}")
        yield Reply(
            row["name"],
            _bytes_of(path),
            row["file"],
            Via(row["via"]),
            extra=tuple(extra.items()),
            is_variant=table == "variant",
            **given,
        )


def _by_table(folder: Path) -> Capture | None:
    """By a table of files with `file` and `command` columns, in the folder or above it, where it has lines for us."""
    for home in (folder, folder.parent):
        if not (home / FOREIGN_MANIFEST).is_file():
            continue
        with (home / FOREIGN_MANIFEST).open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines, delimiter="\t") if row.get("file") and row.get("command")]
        ours = [(row, path) for row in rows if (path := home / row["file"]).parent == folder and path.is_file()]
        if ours:
            replies = [
                one
                for row, path in ours[:MAX_FILES]
                for one in _members(replace(_of_command(row["command"]), **_identity(path)))
            ]
            about = {key: ours[0][0].get(key) or "" for key in ("firmware", "model", "licence", "source_repo")}
            return Capture(folder, *_sorted_out(replies), about=about)
    return None


def _identity(path: Path) -> dict[str, Any]:
    return {"name": path.stem, "raw": _bytes_of(path), "file": path.name}


def _of_command(command: str) -> Reply:
    """`TCP 4028 summary`, `TCP 4433 get.miner.status param=edevs`, `HTTP 80 GET /api/v1/network`, `HTTP digest /x.cgi`,
    with words in brackets behind what is not the plain answer. What cannot be read says nothing."""
    plain = command.partition(" (")[0].split()
    words = plain[1:]
    port = int(words.pop(0)) if words and words[0].isdigit() else None
    is_variant = "(reply of a write" in command.lower() or "with errors" in command.lower()
    nobody = Reply("", b"", "", is_variant=is_variant)
    if not words:
        return nobody
    if plain[0].upper() == "TCP":
        via = Via.FRAMED if port == 4433 else Via.RPC
        parameter = next((word.partition("=")[2] for word in words[1:] if word.startswith("param")), None)
        return replace(nobody, via=via, port=port, what=words[0], parameter=parameter)
    path = next((word for word in words if word.startswith("/")), None)
    method = "POST" if "POST" in words else "GET"
    needs_login = "digest" in words
    return replace(nobody, via=Via.HTTP, port=port or 80, what=path, method=method, needs_login=needs_login)


def _by_names(folder: Path) -> Capture:
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in REPLY_SUFFIXES]
    named = (path for path in paths if path.suffix or path.name.islower())  # LICENSE and its like answer nothing
    return _of_paths(folder, [path for path in named if not path.name.lower().startswith(_NO_REPLIES)])


def _of_paths(folder: Path, paths: list[Path]) -> Capture:
    replies = [one for path in paths[:MAX_FILES] for one in _members(Reply(**_identity(path)))]
    return Capture(folder, *_sorted_out(replies))


_NO_REPLIES = (".", "readme", "licen", "notice", "manifest", "expected")
"""How the names of files begin that lie beside replies."""


def _members(reply: Reply) -> Iterator[Reply]:
    """A reply to joined commands is one to each of them; a list around a single reply is how somebody kept it."""
    try:
        value = orjson.loads(reply.raw)
    except orjson.JSONDecodeError:
        yield reply  # broken bytes are part of the recording
        return
    alone = _alone(value)
    if alone is not value and _is_command(alone):
        yield replace(reply, raw=orjson.dumps(alone))
        return
    parts = {key: _alone(part) for key, part in value.items() if key != "id"} if isinstance(value, dict) else {}
    if not parts or "STATUS" in parts or not all(_is_command(part) for part in parts.values()):
        yield reply
        return
    for name, part in parts.items():
        yield replace(reply, name=name, raw=orjson.dumps(part), what=None if reply.what is None else name)


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _is_command(value: Any) -> bool:
    """Whether this looks like the cgminer API's reply to one command."""
    return isinstance(value, dict) and "STATUS" in value


_WRITES = ("ascset", "set_", "softon", "softoff", "reboot", "restart", "power_off", "power_on")


def _sorted_out(replies: Iterable[Reply]) -> tuple[tuple[Reply, ...], tuple[Reply, ...]]:
    """Replies and variants, told apart by their names where nobody says it."""
    said = [r for r in replies if not (r.is_variant or "with_error" in r.name or r.name.startswith(_WRITES))]
    return tuple(said), tuple(replace(r, is_variant=True) for r in replies if r not in said)


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CaptureError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()
