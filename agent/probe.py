"""One look at one device from the command line: what is it, and what does it say.

Asked as a miner (our own drivers, then pyasic) and as an SNMP device at the same time, with the credentials that the
configuration gives this address, and with nothing but `public` where it gives none. Whatever answers is printed value
by value with its unit; whatever does not is named by its fault. A folder of recorded replies is looked at in the same
way, without any network (`--replay`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from agent.config import Config, ConfigError
from agent.plan import DEADLINE_S, assignments_of, site_of
from agent.targets import MINER_PORT, SNMP_PORT, TargetError, parse_target
from agent.wire import Job
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.readings import Board, Fault, FaultKind, MachineError, MinerReading, PduReading, PduRow, Temperature

GRACE_S = 1.0
"""What a look gets beyond its own deadline before we end it."""

DEEP_S = 20.0
"""How long a machine of our own drivers may take to tell everything, and not only what every look needs."""

WORTH_PYASIC = {FaultKind.UNSUPPORTED, FaultKind.REFUSED, FaultKind.MALFORMED, FaultKind.DENIED, FaultKind.IDENTITY}
"""Faults of a host that is there: another driver may read it."""

UNITS = {
    "hs": "H/s", "w": "W", "j": "J", "a": "A", "v": "V", "c": "°C", "s": "s", "rpm": "rpm", "ratio": "", "hz": "Hz",
}  # fmt: skip
"""Unit of a field by the last word of its name."""

Reading = MinerReading | PduReading

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one driver made of the device: exactly one of reading and fault."""

    driver: str
    reading: Reading | None = None
    fault: Fault | None = None


def run(host: str, config: Config | None, as_json: bool, insecure: bool) -> int:
    """Probe and print. Returns 0 where something was recognised, else 1. Errors: ConfigError for a bad HOST."""
    address, port = one_address("probe", host, insecure)
    return _told(host, asyncio.run(look(address, port, config)), as_json)


def replay(folder: str, as_json: bool) -> int:
    """The same for a folder of recorded replies, or one walk of a PDU (`.snmprec`): nothing is contacted.

    Errors: ConfigError for what is no recording.
    """
    path = Path(folder)
    walk = path if path.suffix == ".snmprec" else next(path.glob("*.snmprec"), None)
    return _told(folder, _of_folder(path) if walk is None else _of_walk(walk), as_json)


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


def _told(host: str, findings: list[Finding], as_json: bool) -> int:
    recognised = any(finding.reading is not None for finding in findings)
    if as_json:
        import msgspec
        import orjson

        document = {"host": host, "recognised": recognised, "findings": msgspec.to_builtins(findings)}
        text = orjson.dumps(document).decode()
    else:
        text = "\n".join([f"{host}:", *(line for found in findings for line in _lines(found))])
    sys.stdout.write(Redactor().text(text) + "\n")  # a device may put a secret into any text of its own
    return 0 if recognised else 1


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


def _of_walk(path: Path) -> list[Finding]:
    from collectors.pdus.device import read_walk
    from collectors.pdus.snmprec import parse_snmprec

    try:
        walk = parse_snmprec(path.read_text("utf-8"), path.name)
    except (OSError, ValueError) as error:
        raise ConfigError("probe", f"{path}: {error}") from None
    try:
        return [Finding("snmp", reading=read_walk(walk))]
    except PollError as error:
        return [Finding("snmp", fault=error.as_fault())]


async def look(address: str, port: int | None, config: Config | None) -> list[Finding]:
    """Findings of every driver that was tried, miners first; both worlds are asked at the same time."""
    as_miner, as_pdu = await asyncio.gather(
        _look_at_miner(miner_job(address, port, config)),
        _look(_pdu_job(address, port, config)),
    )
    return [*as_miner, as_pdu]


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

    deadline_s = job.deadline_s if job.kind in ("snmp", *LIBRARIES) else max(job.deadline_s, DEEP_S)
    try:
        device = open_device(job.kind, job.host, job.port, deadline_s, job.options)
        try:
            everything = device.read(is_deep=True) if isinstance(device, NativeMiner) else device.read()
            reading = await asyncio.wait_for(everything, deadline_s + GRACE_S)
        finally:
            await device.aclose()
    except PollError as error:
        return Finding(job.kind, fault=error.as_fault())
    except TimeoutError:
        return Finding(job.kind, fault=Fault(FaultKind.TIMEOUT, f"no end after {deadline_s:g} s"))
    except Exception as error:  # a probe of an unknown device must not end in a traceback
        log.debug("%s failed", job.kind, exc_info=error)
        return Finding(job.kind, fault=Fault(FaultKind.MALFORMED, f"driver failed: {type(error).__name__}"))
    if not isinstance(reading, Reading):
        return Finding(job.kind, fault=Fault(FaultKind.UNSUPPORTED, "is no device"))
    return Finding(job.kind, reading=reading)


def miner_job(address: str, port: int | None, config: Config | None) -> Job:
    """How the agent would look at a miner at this address: with the configuration's login, or without one."""
    wanted = _configured(address, port, config, ("miners", "pyasic"))
    return wanted or Job(address, "auto", address, port or MINER_PORT, 0.0, DEADLINE_S["miners"])


def _pdu_job(address: str, port: int | None, config: Config | None) -> Job:
    wanted = _configured(address, port, config, ("snmp",))
    community = config.pdus[0].snmp.reveal() if config is not None and config.pdus else "public"
    options: dict[str, str | float | bool] = {"profile": "auto", "community": community}
    return wanted or Job(address, "snmp", address, port or SNMP_PORT, 0.0, DEADLINE_S["snmp"], options)


def _configured(address: str, port: int | None, config: Config | None, workers: Iterable[str]) -> Job | None:
    """The job that the running agent has for this address, with its credentials; None where it has none."""
    if config is None:
        return None
    jobs = (job for a in assignments_of(config, site_of(config, "")) if a.name in workers for job in a.jobs)
    return next((job for job in jobs if job.host == address and port in (None, job.port)), None)


# --- printing --------------------------------------------------------------------------------------------------------


def _lines(finding: Finding) -> Iterator[str]:
    if finding.fault is not None:
        detail = f" ({_plain(finding.fault.detail)})" if finding.fault.detail else ""
        yield f"  as {finding.driver}: {finding.fault.kind.value}{detail}"
        return
    yield f"  as {finding.driver}: recognised"
    for name, value in _values(finding.reading):
        yield f"    {name:<28}{value}"


def _values(part: object, lead: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a reading as (name, text with unit); what the device did not say is a dash."""
    assert is_dataclass(part)
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            yield from _items(value)
        elif isinstance(value, tuple):
            yield f"{lead}{_spoken(field.name)}", ", ".join(_text(field.name, item) for item in value) or "–"
        else:
            yield f"{lead}{_spoken(field.name)}", _text(field.name, value)


def _items(items: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for item in items:
        if isinstance(item, Temperature):
            yield f"temperature {item.sensor.value} {item.index}", f"{item.celsius:g} °C"
        elif isinstance(item, PduRow):
            yield f"{item.kind.value} {_plain(item.id)}", _all_of(item)
        elif isinstance(item, Board):
            yield f"board {_plain(item.id)}", _all_of(item)
        elif isinstance(item, MachineError):
            yield f"error {_plain(item.code)}", _plain(item.text)


def _all_of(item: object) -> str:
    said = [(name, value) for name, value in _values(item) if value != "–" and name not in ("kind", "id")]
    return ", ".join(f"{name} {value}" for name, value in said) or "–"


def _spoken(name: str) -> str:
    words = name.split("_")
    return " ".join(words[:-1] if words[-1] in UNITS and words[-1] != "ratio" and len(words) > 1 else words)


def _text(name: str, value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        unit = UNITS.get(name.split("_")[-1], "")
        if unit == "H/s" and value >= 1e9:
            return f"{value / 1e12:.2f} TH/s"
        if unit == "Hz" and value >= 1e6:
            return f"{value / 1e6:,.10g} MHz"
        return f"{value:,.10g} {unit}".rstrip()
    return _plain(value.value if isinstance(value, Enum) else str(value))


def _plain(text: object) -> str:
    return "".join(c if c.isprintable() else "·" for c in str(text))
