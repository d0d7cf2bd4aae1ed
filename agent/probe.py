"""One look at one device from the command line: what is it, and what does it say.

Asked as a miner (our own drivers, then pyasic) and as an SNMP device at the same time, with the credentials that the
configuration gives this address; a PDU that it does not name is asked as its first `[[pdus]]` entry is, or with
`public` where there is none. Whatever answers is printed value by value with its unit, the values of a PDU with their
objects; whatever does not is named by its fault. A recording is looked at in the same way, without any network
(`--replay`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.config import Config, ConfigError
from agent.plan import DEADLINE_S, assignments_of, pdu_options, site_of
from agent.spoken import NOTHING, plain, spoken, text_of
from agent.targets import MINER_PORT, SNMP_PORT, TargetError, parse_target
from agent.wire import Job
from collectors.pdus.snmprec import SUFFIX
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.presets import tabulate
from fleet.readings import Board, Fault, FaultKind, MachineError, MinerReading, PduReading, Preset, Temperature

if TYPE_CHECKING:
    from collectors.pdus.device import FullRead

GRACE_S = 1.0
"""What a look gets beyond its own deadline before we end it."""

DEEP_S = 20.0
"""How long a machine of our own drivers may take to tell everything, and not only what every look needs."""

PDU_PATIENCE = 3.0
"""A PDU that is too slow for the agent is still worth a look: so many times as long as the agent would wait."""

WORTH_PYASIC = {FaultKind.UNSUPPORTED, FaultKind.REFUSED, FaultKind.MALFORMED, FaultKind.DENIED, FaultKind.IDENTITY}
"""Faults of a host that is there: another driver may read it."""

SILENT_PDU = (
    "    To a wrong community or version an SNMP agent is silent, and so it is to an address that its access list does",
    "    not name; many PDUs come with SNMP switched off. The credentials are those of the [[pdus]] entry for this",
    "    address, else of the first one; without a configuration it is version 2c and the community public.",
)

Reading = MinerReading | PduReading

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one driver made of the device: exactly one of reading and fault.

    `pdu` tells the reading of a PDU step by step (`agent.pdu_view`); `unknown` is what a PDU without a profile says of
    itself.
    """

    driver: str
    reading: Reading | None = None
    fault: Fault | None = None
    pdu: dict[str, Any] | None = None
    unknown: dict[str, str | None] | None = None


def run(host: str, config: Config | None, world: str | None = None, *, as_json: bool, insecure: bool) -> int:
    """Probe and print; `world` is "miner" or "pdu" to ask nothing else. Returns 0 where something was read.

    Errors: ConfigError for a bad HOST.
    """
    address, port = one_address("probe", host, insecure)
    secrets = [] if config is None else [secret for section in config.pdus for secret in section.snmp.secrets()]
    findings = asyncio.run(look(address, port, config, world))
    return _told(host, findings, f"hashwatt capture {host} --snmp -o my-pdu", as_json, secrets)


def replay(recording: str, own: Path | None = None, *, as_json: bool) -> int:
    """The same for a folder of recorded replies, or the walk of a PDU: nothing is contacted.

    `own` is the folder of the operator's PDU profiles. Errors: ConfigError for what is no recording.
    """
    path = Path(recording)
    if path.is_file() and path.suffix == ".json":
        raise ConfigError("probe", f"{recording}: one answer alone says little; name the folder that holds them all")
    is_walk = path.is_file() or next(path.glob(f"*{SUFFIX}"), None) is not None
    return _told(recording, _of_walk(path, own) if is_walk else _of_folder(path), None, as_json)


def one_address(command: str, host: str, insecure: bool) -> tuple[str, int | None]:
    """Address and port that the operator named. Errors: ConfigError for anything but one permitted address."""
    try:
        span = parse_target(host)
    except TargetError as error:
        raise ConfigError(command, str(error)) from None
    if len(span) != 1:
        raise ConfigError(command, f"{host!r} is not one address")
    if not (span.is_private or insecure):
        raise ConfigError(command, f"{host!r} is outside private address space; --insecure permits it")
    return next(span.hosts()), span.port


def _told(
    host: str, findings: list[Finding], how_to_record: str | None, as_json: bool, secrets: Iterable[str] = ()
) -> int:
    recognised = any(finding.reading is not None for finding in findings)
    is_silent = len(findings) == 1 and _is_silent_pdu(findings[0])
    if as_json:
        import msgspec
        import orjson

        document = {"host": host, "recognised": recognised, "findings": msgspec.to_builtins(findings)}
        text = orjson.dumps(document).decode()
    else:
        lines = (line for found in findings for line in _lines(found, how_to_record))
        text = "\n".join([f"{host}:", *lines, *(SILENT_PDU if is_silent else ())])
    sys.stdout.write(Redactor(known=secrets).text(text) + "\n")  # a device may put a secret into any text of its own
    return 0 if any(_is_read(finding) for finding in findings) else 1


def _is_read(finding: Finding) -> bool:
    """Whether the device told anything of worth: a known family whose profile reads nothing does not."""
    if finding.pdu is None:
        return finding.reading is not None
    from agent.pdu_view import values_in

    return values_in(finding.pdu) > 0


def _of_folder(folder: Path) -> list[Finding]:
    from collectors.captures import CaptureError, identified, load, read_capture

    try:
        capture = load(folder)
    except CaptureError as error:
        raise ConfigError("probe", str(error)) from None
    make = identified(capture)
    try:
        return [Finding(make or "auto", reading=read_capture(capture, make))]
    except PollError as error:
        return [Finding(make or "auto", fault=error.as_fault())]


def _of_walk(path: Path, own: Path | None) -> list[Finding]:
    from collectors.pdus.device import replay as replayed
    from collectors.pdus.profile import ProfileError, profiles_with
    from collectors.pdus.snmprec import load_walk

    try:
        walk, profiles = load_walk(path), profiles_with(own)
    except (ValueError, ProfileError) as error:
        raise ConfigError("probe", str(error)) from None
    try:
        return [_pdu_finding(replayed(walk, profiles))]
    except PollError as error:
        return [_pdu_fault(error)]


async def look(address: str, port: int | None, config: Config | None, world: str | None = None) -> list[Finding]:
    """Findings of every driver that was tried, miners first; both worlds are asked at the same time."""
    looks = []
    if world != "pdu":
        looks.append(_look_at_miner(miner_job(address, port, config)))
    if world != "miner":
        looks.append(_look_at_pdu(pdu_job(address, port, config)))
    return [finding for found in await asyncio.gather(*looks) for finding in found]


async def _look_at_pdu(job: Job) -> list[Finding]:
    return [await _look(job)]


async def _look_at_miner(job: Job) -> list[Finding]:
    first = await _look(job)
    if job.kind == "pyasic" or first.fault is None or first.fault.kind not in WORTH_PYASIC:
        return [first]
    second = await _look(Job(job.key, "pyasic", job.host, job.port, 0.0, DEADLINE_S["pyasic"], job.options))
    return [second] if second.reading is not None else [first, second]


async def _look(job: Job) -> Finding:
    """One look by one driver; what goes wrong in it is a finding too."""
    from collectors.catalogue import LIBRARIES, open_device
    from collectors.miners.native import NativeMiner
    from collectors.pdus.device import SnmpPdu

    deadline_s = job.deadline_s
    if job.kind == "snmp":
        deadline_s *= PDU_PATIENCE
    elif job.kind not in LIBRARIES:
        deadline_s = max(deadline_s, DEEP_S)
    try:
        device = open_device(job.kind, job.host, job.port, deadline_s, job.options)
        try:
            if isinstance(device, SnmpPdu):
                full = await asyncio.wait_for(device.read_everything(), deadline_s + GRACE_S)
                return _pdu_finding(full, device.engine)
            everything = device.read(is_deep=True) if isinstance(device, NativeMiner) else device.read()
            reading = await asyncio.wait_for(everything, deadline_s + GRACE_S)
        finally:
            await device.aclose()
    except PollError as error:
        return _pdu_fault(error) if job.kind == "snmp" else Finding(job.kind, fault=error.as_fault())
    except TimeoutError:
        return Finding(job.kind, fault=Fault(FaultKind.TIMEOUT, f"no end after {deadline_s:g} s"))
    except Exception as error:  # a probe of an unknown device must not end in a traceback
        log.debug("%s failed", job.kind, exc_info=error)
        return Finding(job.kind, fault=Fault(FaultKind.MALFORMED, f"driver failed: {type(error).__name__}"))
    if not isinstance(reading, Reading):
        return Finding(job.kind, fault=Fault(FaultKind.UNSUPPORTED, "is no device"))
    return Finding(job.kind, reading=reading)


def _pdu_finding(full: FullRead, engine: str = "") -> Finding:
    from agent.pdu_view import document_of

    reading = replace(full.layout.read(full.found), engine=engine)
    return Finding("snmp", reading=reading, pdu=document_of(full, engine))


def _pdu_fault(error: PollError) -> Finding:
    from collectors.pdus.matching import UnknownPdu
    from collectors.pdus.snmp import format_oid

    if not isinstance(error, UnknownPdu):
        return Finding("snmp", fault=error.as_fault())
    unknown = {
        "sys_object_id": format_oid(error.identity) if error.identity else None,
        "sys_descr": error.descr or None,
    }
    return Finding("snmp", fault=error.as_fault(), unknown=unknown)


def miner_job(address: str, port: int | None, config: Config | None) -> Job:
    """How the agent would look at a miner at this address: with the configuration's login, or without one."""
    wanted = _configured(address, port, config, ("miners", "pyasic"))
    return wanted or Job(address, "auto", address, port or MINER_PORT, 0.0, DEADLINE_S["miners"])


def pdu_job(address: str, port: int | None, config: Config | None) -> Job:
    """How the agent would look at a PDU at this address; one that it does not know is let in like its first PDU."""
    wanted = _configured(address, port, config, ("snmp",))
    options: dict[str, str | float | bool] = {"community": "public"}
    if config is not None and config.pdus:
        options = pdu_options(config, config.pdus[0])
    elif config is not None and config.pdu_profiles is not None:
        options["profiles"] = str(config.pdu_profiles)
    options["profile"] = "auto"
    deadline_s = DEADLINE_S["snmp"]
    return wanted or Job(address, "snmp", address, port or SNMP_PORT, 0.0, deadline_s, options)


def is_configured_pdu(address: str, port: int | None, config: Config | None) -> bool:
    """Whether the configuration says that a PDU is at this address."""
    return _configured(address, port, config, ("snmp",)) is not None


def _configured(address: str, port: int | None, config: Config | None, workers: Iterable[str]) -> Job | None:
    """The job that the running agent has for this address, with its credentials; None where it has none."""
    if config is None:
        return None
    jobs = (job for a in assignments_of(config, site_of(config, "")) if a.name in workers for job in a.jobs)
    return next((job for job in jobs if job.host == address and port in (None, job.port)), None)


# --- printing --------------------------------------------------------------------------------------------------------


def _lines(finding: Finding, how_to_record: str | None) -> Iterator[str]:
    if finding.fault is not None:
        detail = f" ({plain(finding.fault.detail)})" if finding.fault.detail else ""
        yield f"  as {finding.driver}: {finding.fault.kind.value}{detail}"
        if finding.unknown is not None:
            yield from _advice(finding.unknown, how_to_record)
        return
    yield f"  as {finding.driver}: recognised"
    if finding.pdu is not None:
        from agent.pdu_view import NO_VALUE, lines_of

        yield from (f"    {line}" for line in (*lines_of(finding.pdu), *(() if _is_read(finding) else (NO_VALUE,))))
        return
    for name, value in _values(finding.reading):
        yield f"    {name:<28}{value}"


def _advice(unknown: dict[str, str | None], how_to_record: str | None) -> Iterator[str]:
    """What an operator can do about a PDU that no profile knows."""
    yield "    It answers, but no profile knows it. It says of itself:"
    yield f"      sysObjectID  {unknown['sys_object_id'] or 'nothing'}"
    yield f"      sysDescr     {plain(unknown['sys_descr'] or 'nothing')}"
    yield "    One file makes it known, without Python (docs/adding-a-pdu.md):"
    if how_to_record is not None:
        yield f"      {how_to_record:<46}records what it has to say, without secrets"
    yield f"      {'hashwatt pdu test my-pdu.toml my-pdu':<46}tries the file on the recording while you write it"
    yield f"      {'cp my-pdu.toml /etc/hashwatt/pdus.d/':<46}the agent reads it from its next start on"


def _is_silent_pdu(finding: Finding) -> bool:
    return finding.driver == "snmp" and finding.fault is not None and finding.fault.kind is FaultKind.TIMEOUT


def _values(part: object, lead: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a reading as (name, text with unit); what the device did not say is a dash."""
    assert is_dataclass(part)
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name == "presets" and value:
            yield "presets", _offer(value)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            yield from _items(value)
        elif isinstance(value, tuple):
            yield f"{lead}{spoken(field.name)}", ", ".join(text_of(field.name, item) for item in value) or NOTHING
        else:
            yield f"{lead}{spoken(field.name)}", text_of(field.name, value)


def _items(items: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for item in items:
        if isinstance(item, Temperature):
            yield f"temperature {item.sensor.value} {item.index}", f"{item.celsius:g} °C"
        elif isinstance(item, Board):
            yield f"board {plain(item.id)}", _all_of(item)
        elif isinstance(item, MachineError):
            yield f"error {plain(item.code)}", plain(item.text)


def _offer(presets: tuple[Preset, ...]) -> str:
    """A list of presets in one line: how many, from where to where, and what the steps between them cost."""
    by_rate = sorted(presets, key=lambda preset: preset.hashrate_hs)
    ends = [
        f"{text_of('hashrate_hs', preset.hashrate_hs)} at {text_of('power_w', preset.power_w)}"
        for preset in (by_rate[0], by_rate[-1])
    ]
    parts = [f"{len(presets)}, {' to '.join(dict.fromkeys(ends))}"]
    if any(preset.is_tuned is not None for preset in presets):
        parts.append(f"{sum(preset.is_tuned is True for preset in presets)} tuned")
    marginal = tabulate((presets,)).marginal_j_per_th
    if np.isfinite(marginal).any():
        parts.append(f"steps of {np.nanmin(marginal):.1f} to {np.nanmax(marginal):.1f} J/TH")
    return ", ".join(parts)


def _all_of(item: object) -> str:
    said = [(name, value) for name, value in _values(item) if value != NOTHING and name not in ("kind", "id")]
    return ", ".join(f"{name} {value}" for name, value in said) or NOTHING
