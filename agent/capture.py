"""The command `hashwatt capture`: what one machine answers to every question that we know, as a folder to keep.

The machine is met and read as in a probe, over a line that writes every answer down. A machine that we do not know is
asked the harmless questions that most firmware understands, for recordings are how we get to know it. A host that
answers SNMP and is no machine is walked as a PDU (`agent.pdu_capture`). Nothing is asked that could change anything,
and the login itself is not written down. Then secrets and identities are replaced, and the folder appears as a whole or
not at all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import pdu_capture
from agent.config import Config, ConfigError
from agent.probe import SILENT_PDU, is_configured_pdu, miner_job, one_address, pdu_job
from agent.wire import Job
from collectors.captures import MANIFEST, Gate
from collectors.catalogue import credential_of
from collectors.miners import cgminer, hearing
from collectors.miners.identify import AXEOS_INFO, LANDING, SYSTEM_INFO_CGI, V1_INFO, V1_SYSTEM
from collectors.miners.line import Line
from collectors.miners.make import HTTP_PORT, RPC_PORT, Ask, Credential, Login, Make, Via
from collectors.miners.makes import KEYS
from collectors.miners.native import NativeMiner
from collectors.pdus.profile import profiles_with
from collectors.pdus.snmp import Credential as SnmpCredential
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

READ_S = 60.0
QUESTION_S = 10.0
RECORDED, NOTHING = 0, 1

_COMMANDS = (
    *("summary", "stats", "estats", "litestats", "devs", "edevs", "devdetails", "pools", "coin", "config", "status"),
    *("get_version", "get_psu", "get_miner_info", "get_error_code", "power", "fans", "temps", "tempctrl"),
    *("tunerstatus", "profiles", "asccount"),
)
_PAGES = (
    *("/cgi-bin/summary.cgi", "/cgi-bin/stats.cgi", "/cgi-bin/pools.cgi", "/cgi-bin/get_network_info.cgi"),
    *("/api/v1/summary", "/api/v1/status", "/api/v1/version", "/api/v1/mining", "/api/swarm/info"),
)

GENERAL: tuple[Ask, ...] = (
    *(Ask(command, command) for command in _COMMANDS),
    *(LANDING, AXEOS_INFO, V1_INFO, V1_SYSTEM, SYSTEM_INFO_CGI),
    *(Ask(re.sub(r"\W+", "_", page).strip("_"), page, Via.HTTP, HTTP_PORT) for page in _PAGES),
)
"""Questions to a machine that we do not know. Every one of them only reads, on every firmware that has it."""

_REALM = re.compile(rb'(?i)www-authenticate:\s*digest[^\r\n]*realm="([^"\r\n]*)"')
_SILENT = (FaultKind.UNREACHABLE, FaultKind.TIMEOUT)
_GONE = (FaultKind.REFUSED, *_SILENT)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recording:
    """What one machine said, as it said it. `joins` None = it was not asked to join commands."""

    replies: dict[Ask, bytes] = field(default_factory=dict)
    login_path: str = ""
    login_answer: bytes | None = None
    joins: bool | None = None
    make: Make | None = None
    reading: MinerReading | None = None
    failure: str = ""
    is_pdu: bool = False  # no machine that we know, and it answers SNMP


def run(
    host: str,
    out: str,
    config: Config | None,
    *,
    insecure: bool = False,
    credential: str | None = None,
    is_snmp: bool = False,
) -> int:
    """Record into the new folder `out`. Returns 0 where something was recorded, 1 where nobody answered.

    `credential` names one of `config`; without it the one that the configuration gives this address is used. `is_snmp`:
    the host is a PDU, whatever else it may seem to be.
    Errors: ConfigError for a bad HOST, an unknown credential, or a folder that is there already or cannot be made.
    """
    address, port = one_address("capture", host, insecure)
    folder = Path(out)
    if folder.exists() or folder.is_symlink():
        raise ConfigError("capture", f"{folder} is there already; a recording never overwrites one")
    if not folder.parent.is_dir():
        raise ConfigError("capture", f"there is no folder {folder.parent}")
    if not os.access(folder.parent, os.W_OK | os.X_OK):  # before a machine is asked for nothing
        raise ConfigError("capture", f"no permission to make a folder in {folder.parent}")
    is_snmp = is_snmp or is_configured_pdu(address, port, config)
    job = miner_job(address, None if is_snmp else port, config)
    login = _login(config, credential, job.options or {})
    pdu = _PduDoor(pdu_job(address, port, config), config)
    if is_snmp:
        return asyncio.run(_record_pdu(pdu, host, out, folder))
    ports = {} if job.port == RPC_PORT else {RPC_PORT: job.port}
    line = _Recorder(address, ports, login)
    told = job.kind if job.kind in KEYS else None
    recording = asyncio.run(_record(line, told, pdu.answers))
    if recording.is_pdu:
        return asyncio.run(_record_pdu(pdu, host, out, folder))
    if not recording.replies:
        sys.stderr.write(f"{host}: nothing to record: {recording.failure}\n")
        return NOTHING
    redactor = Redactor(secrets.token_bytes(32), known=[] if login is None else [login.password])
    files = _files(recording, redactor)
    _write(folder, files)
    sys.stdout.write("\n".join([*_report(out, recording, files, redactor), ""]))
    return RECORDED


@dataclass(frozen=True, slots=True)
class _PduDoor:
    """How a PDU at this address would be asked."""

    job: Job
    config: Config | None

    @property
    def credential(self) -> SnmpCredential:
        options = self.job.options or {}
        return credential_of(options) or SnmpCredential("public")

    @property
    def secrets(self) -> list[str]:
        """What must not appear in the recording: whatever lets somebody in to any PDU of this site."""
        sections = () if self.config is None else self.config.pdus
        told = (secret for pdu in sections for secret in (*pdu.snmp.secrets(), pdu.snmp.user))
        return [secret for secret in dict.fromkeys(told) if secret is not None]

    async def answers(self) -> bool:
        return await pdu_capture.answers(self.job.host, self.job.port, self.credential)


async def _record_pdu(door: _PduDoor, host: str, out: str, folder: Path) -> int:
    job = door.job
    profiles = profiles_with(None if door.config is None else door.config.pdu_profiles)
    try:
        recording = await pdu_capture.record(job.host, job.port, door.credential, profiles, pdu_capture.show_progress)
    except PollError as error:
        hint = SILENT_PDU if error.kind is FaultKind.TIMEOUT else ()
        sys.stderr.write("\n".join([f"{host}: nothing to record: {error}", *hint, ""]))
        return NOTHING
    finally:
        pdu_capture.end_progress()
    redactor = Redactor(secrets.token_bytes(32), known=door.secrets)
    files = pdu_capture.files_of(recording, profiles, redactor, door.secrets)
    _write(folder, files)
    lines = [*pdu_capture.report(recording, out), *_last_lines(out, redactor), ""]
    sys.stdout.write("\n".join(lines))
    return RECORDED


def _login(config: Config | None, name: str | None, options: Mapping[str, Any]) -> Credential | None:
    if name is None:
        user, password = options.get("user"), options.get("password")
        return Credential(str(user), str(password)) if user is not None and password is not None else None
    known = config.credentials if config is not None else {}
    if name not in known:
        raise ConfigError("capture", f"there is no [credentials.{name}]; known: {', '.join(known) or 'none'}")
    return Credential(known[name].user, known[name].password.reveal())


# --- asking ----------------------------------------------------------------------------------------------------------


class _Recorder(Line):
    """A line that keeps every answer. Commands are asked one by one, so that each has its own."""

    __slots__ = ("_is_logging_in", "recording")

    def __init__(self, host: str, ports: Mapping[int, int], credential: Credential | None) -> None:
        super().__init__(host, ports, credential)
        self.recording = Recording()
        self._is_logging_in = False

    async def ask(self, ask: Ask, deadline_at: float) -> Any:
        soon = asyncio.get_running_loop().time() + QUESTION_S
        raw = await self.ask_raw(ask, min(deadline_at, soon))
        if self._is_logging_in:
            self.recording.login_path, self.recording.login_answer = ask.what, raw
        elif not (_is_elsewhere(ask, raw) or any(_is_same(ask, other) for other in self.recording.replies)):
            self.recording.replies[ask] = raw
        return hearing.hear(ask, raw)

    async def ask_joined(self, asks: Any, deadline_at: float) -> cgminer.Reply:
        raise PollError(FaultKind.MALFORMED, "recorded one by one")

    async def joins(self, asks: Any, deadline_at: float) -> bool:
        """Whether the machine takes these commands in one."""
        try:
            reply = await super().ask_joined(asks, deadline_at)
        except PollError:
            return False
        return "STATUS" not in reply and all(ask.what in reply for ask in asks)

    async def log_in(self, login: Login, deadline_at: float) -> None:
        self._is_logging_in = True
        try:
            await super().log_in(login, deadline_at)
        finally:
            self._is_logging_in = False


def _is_elsewhere(ask: Ask, raw: bytes) -> bool:
    """Whether a web server answered a command: that port is not the cgminer API, and this no answer."""
    return ask.via is Via.RPC and raw.startswith((b"HTTP/", b"<"))


def _is_same(one: Ask, other: Ask) -> bool:
    """Whether two questions are one to the machine, whatever we call them."""
    return (one.via, one.port, one.what, one.parameter, one.extra, one.body, one.is_text) == (
        other.via, other.port, other.what, other.parameter, other.extra, other.body, other.is_text,
    )  # fmt: skip


async def _record(
    line: _Recorder, told: str | None, speaks_snmp: Callable[[], Awaitable[bool]] | None = None
) -> Recording:
    recording = line.recording
    snmp = None if speaks_snmp is None else asyncio.ensure_future(speaks_snmp())
    miner = NativeMiner(line, READ_S, told)
    try:
        recording.reading = await miner.read(is_deep=True)
    except PollError as error:
        recording.failure = str(error)
    except Exception as error:  # what breaks a driver is the recording that we need most
        log.debug("driver failed", exc_info=error)
        recording.failure = f"driver failed: {type(error).__name__}"
    recording.make = miner.make
    if snmp is not None:
        recording.is_pdu = miner.make is None and await snmp
        snmp.cancel()
    if recording.is_pdu:
        return recording  # web pages of PDUs are no replies of a machine, and some fall over many questions
    deadline_at = asyncio.get_running_loop().time() + READ_S
    if miner.make is None and (recording.replies or not recording.failure.startswith(_SILENT)):
        await _ask_generally(line, deadline_at)
    if any(ask.via is Via.HTTP and ask.port == HTTP_PORT for ask in recording.replies):
        await _try(line, LANDING, deadline_at)  # how it asks for a login
    joinable = [ask for ask in recording.replies if ask.joins]
    if len(joinable) > 1:
        recording.joins = await line.joins(joinable, deadline_at)
    return recording


async def _ask_generally(line: _Recorder, deadline_at: float) -> None:
    """Every general question, but none on a port where nobody is."""
    closed: set[int] = set()
    for ask in GENERAL:
        if ask.port in closed or (ask.needs_login and line.credential is None):
            continue
        error = await _try(line, ask, deadline_at)
        if error is not None:
            line.recording.replies.pop(ask, None)  # a refusal of a question that it need not know
            if error.kind in _GONE:
                closed.add(ask.port)


async def _try(line: _Recorder, ask: Ask, deadline_at: float) -> PollError | None:
    try:
        await line.ask(ask, deadline_at)
    except PollError as error:
        return error
    return None


# --- writing ---------------------------------------------------------------------------------------------------------


def _files(recording: Recording, redactor: Redactor) -> dict[str, bytes]:
    """Content by file name, manifest first, all of it redacted."""
    named: dict[str, Ask] = {}
    for ask in recording.replies:
        stem = ask.name if f"{ask.name}.json" not in named else f"{ask.via.value}_{ask.name}"
        named[f"{stem}{'.txt' if ask.is_text else '.json'}"] = ask
    raw = {file: recording.replies[ask] for file, ask in named.items()}
    gate = _gate(recording)
    told = redactor.folder(raw | ({"": gate.answer.encode()} if gate is not None else {}))
    answer = told.pop("", b"").decode("utf-8", "replace")
    manifest = "\n".join([*_manifest(recording, named, gate, answer, redactor), ""])
    return {MANIFEST: manifest.encode("utf-8", "replace"), **told}


def _gate(recording: Recording) -> Gate | None:
    """How the machine asked for a login, where one was given or its first page says so."""
    if recording.login_answer is not None:
        answer = recording.login_answer.decode("utf-8", "replace")
        return Gate("token", path=recording.login_path, answer=answer)
    page = next((raw for ask, raw in recording.replies.items() if ask.what == LANDING.what), b"")
    demand = _REALM.search(page)
    return None if demand is None else Gate("digest", realm=demand[1].decode("latin-1"))


def _manifest(
    recording: Recording, named: Mapping[str, Ask], gate: Gate | None, answer: str, redactor: Redactor
) -> Iterator[str]:
    reading = recording.reading
    yield "# Recorded by `hashwatt capture`; secrets and identities are replaced. What a person finds in these bytes"
    yield "# goes into expected.toml beside this file, by hand: never from the program's own output."
    yield f'source = "hashwatt capture"\nrecorded = "{datetime.now(UTC):%Y-%m-%d}"'
    if recording.make is not None:
        yield f"make = {_toml(recording.make.key)}"
    for key in ("firmware", "model"):
        if (said := getattr(reading, key, None)) is not None:
            yield f"{key} = {_toml(redactor.text(said))}"
    if recording.joins is not None:
        yield f"joins = {_toml(recording.joins)}"
    if gate is not None:
        fields = {
            "kind": gate.kind,
            "realm": redactor.text(gate.realm),
            "path": gate.path,
            "answer": answer if gate.answer else "",
        }
        yield "\n[login]"
        yield from (f"{key} = {_toml(value)}" for key, value in fields.items() if value)
    for file, ask in named.items():
        yield "\n[[reply]]"
        yield from (f"{key} = {_toml(value)}" for key, value in _entry(file, ask).items() if value not in (None, False))


def _entry(file: str, ask: Ask) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": ask.name, "via": ask.via.value, "port": ask.port}
    if ask.via is Via.HTTP:
        entry |= {"method": "GET" if ask.body is None else "POST"}
    entry |= {"what": ask.what, "parameter": ask.parameter}
    if ask.extra:
        entry["extra"] = dict(ask.extra)
    if ask.body is not None:
        entry["body"] = ask.body.decode()
    return entry | {"needs_login": ask.needs_login, "file": file}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files or none. Errors: ConfigError for a place where nothing can be written, or where somebody was faster."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir()
        try:
            for name, content in files.items():
                (partial / name).write_bytes(content)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError("capture", f"{folder}: {error.strerror}") from None


def _report(out: str, recording: Recording, files: Mapping[str, bytes], redactor: Redactor) -> Iterator[str]:
    reading = recording.reading
    if reading is not None:
        who = " ".join(filter(None, (reading.make, reading.model)))
    else:
        who = f"a machine that could not be read ({recording.failure})"
    yield f"{out}: {len(files) - 1} replies of {who}"
    for name, content in files.items():
        yield f"  {name:<32}{len(content):>9,} bytes"
    yield from _last_lines(out, redactor)


def _last_lines(out: str, redactor: Redactor) -> Iterator[str]:
    gone = ", ".join(f"{count} x {kind.value}" for kind, count in sorted(redactor.counts.items()))
    yield f"replaced: {gone or 'nothing'}"
    yield f"Look through the files before you give them to anybody; `hashwatt probe --replay {out}` reads them."
