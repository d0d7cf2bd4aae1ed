"""Who answers: a sequence of harmless questions, cheapest first, that stops as soon as it knows. No I/O.

`steps()` yields questions and is sent answers (or the PollError that came instead), so that a live machine and a
capture are identified by the same lines. A silent address costs one connect. No login but the operator's is tried.

Custom firmware keeps the name of the machine that it runs on, so it must be recognised before stock firmware; and
WhatsMiner names itself in the very refusal of `version`, so an answer is searched before its status is judged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.miners import cgminer
from collectors.miners.line import Line
from collectors.miners.make import FRAMED_PORT, HTTP_PORT, Ask, Via
from fleet.ports import PollError
from fleet.readings import FaultKind

VERSION = Ask("version", "version", any_status=True)
DEVDETAILS = Ask("devdetails", "devdetails", any_status=True)
GET_VERSION = Ask("get_version", "get_version", any_status=True)
DEVICE_INFO = Ask("get_device_info", "get.device.info", via=Via.FRAMED, port=FRAMED_PORT)
EPIC_CAPABILITIES = Ask("capabilities", "/capabilities", via=Via.HTTP)
LANDING = Ask("landing", "/", via=Via.HTTP, port=HTTP_PORT, is_text=True)
AXEOS_INFO = Ask("system_info", "/api/system/info", via=Via.HTTP, port=HTTP_PORT)
V1_INFO = Ask("info", "/api/v1/info", via=Via.HTTP, port=HTTP_PORT)
V1_VERSION = Ask("version", "/api/v1/version", via=Via.HTTP, port=HTTP_PORT)
V1_SYSTEM = Ask("system", "/api/v1/system", via=Via.HTTP, port=HTTP_PORT)
KAONSU = Ask("overview", "/kaonsu/v1/overview", via=Via.HTTP, port=HTTP_PORT)
SYSTEM_INFO_CGI = Ask("get_system_info", "/cgi-bin/get_system_info.cgi", via=Via.HTTP, port=HTTP_PORT, needs_login=True)

_MARKERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("braiins", ("BOSMINER", "BOSER")),
    ("luxos", ("LUXMINER",)),
    ("hiveon", ("HIVEON",)),
    ("mara", ("KAONSU", "MARAFW")),
    ("antminer", ("(VNISH 2.", "(VNISH 3.", "(VNISH FOR AWESOME")),  # on the S9 and its time it had no pages of its own
    ("vnish", ("VNISH",)),
    ("hiveon", ("RWGLR",)),  # what Hiveon and MSKMiner are built on, also where neither says its name
    ("whatsminer", ("BTMINER", "BITMICRO", "WHATSMINER")),
    ("auradine", ("GCMINER", "FLUXOS")),
    ("sealminer", ("BDMINER",)),
    ("antminer", ("ANTMINER",)),
    ("avalon", ("AVALON",)),
    ("goldshell", ("INTCHAINS_QOMO", "KDAMINER", "BFGMINER")),
    ("innosilicon", ("INNOMINER",)),
)

_PAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("antminer", ('REALM="ANTMINER',)),
    ("volcminer", ('REALM="BLACKMINER',)),
    ("elphapex", ('REALM="DAOGE',)),
    ("braiins_rest", ("BRAIINS OS",)),
    ("luxos", ("LUXOR FIRMWARE",)),
    ("vnish", ("ANTHILLOS",)),
    ("avalon", ("AVALON",)),
    ("axeos", ("AXEOS", "NERD", "LUCKY MINER")),
    ("proto", ("PROTO OS",)),
    ("sealminer", ("AMAZEUI",)),
    ("auradine", ("MINER UI",)),
    ("mara", ("ALGORITHM: MD5",)),
    ("whatsminer", ("/CGI-BIN/LUCI",)),
    ("goldshell", ("CLOUD-BOX",)),
    ("futurebit", ("LOCATION: /OVERVIEW",)),
    ("dragonmint", ("DRAGONMINT",)),
    ("fluminer", ("FLUMINER",)),
    ("web dashboard", ("MINER WEB DASHBOARD",)),
)

_WHATSMINER_MODEL = re.compile(r"(?<![A-Z0-9])M[0-9]{1,2}[A-Z]{0,3}[+]*_?V[A-Z0-9]{2,4}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identified:
    """`maker` is a key of makes.py, or a word for a machine that only a library reads, or None: nothing we know.

    `answers` are those already heard, by question, so that the first look need not ask again.
    """

    maker: str | None
    answers: Mapping[Ask, Any] = field(default_factory=dict)


Steps = Generator[Ask, Any, Identified]


def steps(has_login: bool = False, known: str | None = None) -> Steps:
    """Questions until it is clear who answers. Errors: PollError of a host that is silent, or that refuses to say.

    `has_login`: the operator gave a credential, so that firmware which tells more behind a login is read there.
    `known`: the make that answered here before. It counts where the first answer names it, or where its port is closed,
    as it is on machines that have only pages.
    """
    heard: dict[Ask, Any] = {}
    version = yield VERSION
    if known is not None and _is_still(known, version):
        return Identified(known, {} if isinstance(version, PollError) else {VERSION: version})
    if isinstance(version, PollError):
        if version.kind is FaultKind.UNREACHABLE:
            raise version
        if version.kind in (FaultKind.UNSUPPORTED, FaultKind.TIMEOUT):
            # ePIC speaks HTTP on the port of the cgminer API; such a server may refuse our question or wait for more
            capabilities = yield EPIC_CAPABILITIES
            if isinstance(capabilities, dict):
                return Identified("epic", {EPIC_CAPABILITIES: capabilities})
            if version.kind is FaultKind.TIMEOUT:
                raise version
            return Identified(None)
    else:
        heard[VERSION] = version
        maker = classify(version)
        if maker == "braiins" and has_login and isinstance((yield V1_VERSION), dict):
            maker = "braiins_rest"
        if maker is not None:
            return Identified(maker, heard)
    if not (isinstance(version, PollError) and version.kind is FaultKind.REFUSED):
        maker = yield from _by_other_commands()
        if maker is not None:
            return Identified(maker, heard)
    info = yield DEVICE_INFO
    if isinstance(info, dict) and isinstance(info.get("msg"), dict):
        return Identified("whatsminer_v3", {DEVICE_INFO: info})
    maker = yield from _by_pages()
    if maker is None and isinstance(version, PollError):
        raise version
    if maker is None and cgminer.status(version).is_denial:
        raise PollError(FaultKind.DENIED, "version: access denied")
    return Identified(maker, heard)


def _is_still(known: str, version: Any) -> bool:
    if isinstance(version, PollError):
        return version.kind is FaultKind.REFUSED
    named = classify(version)
    return named is not None and known.startswith(named)


def _by_other_commands() -> Generator[Ask, Any, str | None]:
    """WhatsMiner and SEALMINER of some firmware know themselves only here."""
    for ask in (DEVDETAILS, GET_VERSION):
        answer = yield ask
        if isinstance(answer, dict):
            maker = classify(answer)
            if maker is None and _WHATSMINER_MODEL.search(str(dict(answer))):
                maker = "whatsminer"
            if maker is not None:
                return maker
    return None


def _by_pages() -> Generator[Ask, Any, str | None]:
    """The first page, and only where it says nothing, the few addresses at which a machine tells who it is."""
    page = yield LANDING
    if isinstance(page, PollError) and page.kind in (FaultKind.REFUSED, FaultKind.UNREACHABLE, FaultKind.TIMEOUT):
        return None
    if isinstance(page, str):
        said = page.upper()
        maker = next((name for name, marks in _PAGES if any(mark in said for mark in marks)), None)
        if maker is not None:
            return maker
    info = yield AXEOS_INFO
    if isinstance(info, dict) and (
        not info.keys().isdisjoint(("ASICModel", "deviceModel"))  # NerdAxe may lack the first
        or (isinstance(info.get("asic"), dict) and isinstance(info.get("miner"), dict))  # NMAxe
    ):
        return "axeos"
    info = yield V1_INFO
    if isinstance(info, dict) and "fw_name" in info:
        return "vnish"
    info = yield V1_VERSION
    if isinstance(info, dict) and "major" in info:
        return "braiins_rest"
    info = yield V1_SYSTEM
    if isinstance(info, dict) and "system-info" in info:
        return "proto"
    info = yield KAONSU
    if isinstance(info, dict) and info:
        return "mara"
    info = yield SYSTEM_INFO_CGI
    if isinstance(info, dict):
        kind = str(info.get("minertype")).upper()
        return "antminer" if "ANTMINER" in kind else "elphapex" if kind.startswith("DG") else None
    return None


def classify(reply: Mapping[str, Any]) -> str | None:
    """Maker or firmware that a reply names; None where it names none that we know."""
    said = str(dict(reply))[:65536].upper()
    return next((name for name, markers in _MARKERS if any(marker in said for marker in markers)), None)


PATIENCE_RATIO = 0.6
"""Share of the time that is left which one question may take, so that a silent port leaves some for the next."""


async def identify(line: Line, deadline_at: float, known: str | None = None) -> Identified:
    """`steps` with a live machine. Errors: PollError."""
    loop = asyncio.get_running_loop()
    asking = steps(line.credential is not None, known)
    try:
        ask = next(asking)
        while True:
            answer: Any
            try:
                if ask.needs_login and line.credential is None:
                    raise PollError(FaultKind.DENIED, f"{ask.what} needs a login")
                now = loop.time()
                answer = await line.ask(ask, now + PATIENCE_RATIO * (deadline_at - now))
            except PollError as error:
                answer = error
            ask = asking.send(answer)
    except StopIteration as done:
        identified: Identified = done.value
        return identified
