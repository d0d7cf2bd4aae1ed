"""SNMP by pysnmp, the only module that imports it; itself imported only when a PDU is polled.

pysnmp is correct and slow: an engine costs 150 ms of CPU, a MIB lookup 1 ms per object, so both are avoided. There is
one engine per credential and event loop, shared by all its devices through one UDP socket; requests are made below
pysnmp's convenience layer from varbinds that are built once, and no MIB is ever consulted for an OID.

pysnmp's timers follow the wall clock and stand still when it is set back, so timeouts and the one retry are made here,
on the event loop's clock; pysnmp's own timer only sweeps up after us.

An answer counts only if its sender is a device that we are waiting for: pysnmp itself matches by request number alone,
so anybody who guesses it could answer. Datagrams that pysnmp cannot read are datagrams that did not come.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.carrier.error import CarrierError
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.proto import errind, rfc1902, rfc1905

from collectors.pdus.snmp import Credential, Fetch, Oid, Pace, Value, Varbind, Walk, WalkLimits, format_oid
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_DATAGRAM_BYTES = 16 * 1024  # a full answer fits in 1,500; more is nothing that we asked for

SWEEP_S = 30  # after this pysnmp forgets a request that nobody answered

NO_ERROR, TOO_BIG = 0, 1
DENIALS = frozenset({6, 16})  # noAccess, authorizationError

_GET = cmdgen.GetCommandGenerator()
_NEXT = cmdgen.NextCommandGeneratorSingleRun()
_BULK = cmdgen.BulkCommandGeneratorSingleRun()

_Address = tuple[str, int]
_Send = Callable[[Callable[..., None]], object]
_Answered = asyncio.Future[tuple[int, int, list[Varbind]]]


class _Transport(udp.UdpAsyncioTransport):  # type: ignore[misc]
    """One UDP socket that hears only the devices that owe an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited: Counter[_Address] = Counter()

    def datagram_received(self, datagram: bytes, transportAddress: Any) -> None:
        if self.awaited[transportAddress[:2]] <= 0 or len(datagram) > MAX_DATAGRAM_BYTES:
            return
        try:
            self._callback_function(self, transportAddress, datagram)
        except Exception:  # noqa: BLE001 -- the decoder raises anything on hostile bytes; the request times out
            return

    def send_message(self, outgoingMessage: bytes, transportAddress: Any) -> None:
        try:
            super().send_message(outgoingMessage, transportAddress)
        except CarrierError:
            return  # not sent is not answered; raising here would end pysnmp's own timer task


class _Session:
    """One engine with its socket and its table of targets; lives as long as a client uses it."""

    def __init__(self, credential: Credential) -> None:
        self.users = 0
        self.engine = SnmpEngine()
        self.transport = _Transport()
        config.add_v1_system(self.engine, "area", credential.community, transportTag=b"")
        config.add_target_parameters(self.engine, "v2c", "area", "noAuthNoPriv", 1)
        config.add_transport(self.engine, udp.DOMAIN_NAME, self.transport.open_client_mode())
        self._targets: dict[_Address, str] = {}

    def target(self, address: _Address) -> str:
        """Name of the target row of a device; rows are kept, for making one costs more than a poll."""
        if address not in self._targets:
            name = f"device{len(self._targets)}"
            config.add_target_address(self.engine, name, udp.DOMAIN_NAME, address, "v2c", SWEEP_S * 100, 0)
            self._targets[address] = name
        return self._targets[address]

    def close(self) -> None:
        self.engine.close_dispatcher()


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Credential, _Session]] = WeakKeyDictionary()


def open_sessions() -> int:
    """Engines of the running loop: one per credential that a client uses."""
    return len(_sessions.get(asyncio.get_running_loop(), {}))


class PysnmpClient:
    """One device over SNMP v2c; implements `snmp.SnmpClient`. A wrong community looks like silence: TIMEOUT."""

    def __init__(
        self, host: str, port: int, credential: Credential, *, timeout_s: float = 2.0, retries: int = 1
    ) -> None:
        self._host = host
        self._port = port
        self._credential = credential
        self._timeout_s = timeout_s
        self._retries = retries
        self._pace = Pace()
        self._session: _Session | None = None
        self._address: _Address = (host, port)

    @property
    def engine(self) -> str:
        return "pysnmp"

    def set_pace(self, pace: Pace) -> None:
        self._pace = pace

    async def get(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        session, target = await self._open()
        fetch = Fetch(oids, self._pace)
        while asked := fetch.next_request():
            varbinds = [_empty(oid) for oid in asked]
            send = partial(_GET.send_varbinds, session.engine, target, None, b"", varbinds)
            status, position, answer = await self._ask(session, send)
            if status == NO_ERROR:
                fetch.receive(answer)
            elif status == TOO_BIG:
                fetch.too_big()
            else:
                fetch.refuse(position)
        return fetch.answers

    async def walk(self, root: Oid, limits: WalkLimits = WalkLimits()) -> dict[Oid, Value]:  # noqa: B008 -- frozen
        session, target = await self._open()
        walk = Walk(root, self._pace, limits)
        try:
            async with asyncio.timeout(limits.seconds):
                while (after := walk.next_request()) is not None:
                    status, _, answer = await self._ask(session, _following(session, target, after, walk.repetitions))
                    if status == NO_ERROR:
                        walk.receive(answer)
                    elif status == TOO_BIG:
                        walk.too_big()
                    else:
                        walk.refuse()
        except TimeoutError:
            raise PollError(
                FaultKind.TIMEOUT, f"the walk of {format_oid(root)} took more than {limits.seconds:g} s"
            ) from None
        return walk.answers

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        session.users -= 1
        if session.users == 0:
            shared = _sessions[asyncio.get_running_loop()]
            shared.pop(self._credential, None)
            session.close()

    async def _open(self) -> tuple[_Session, str]:
        if self._session is None:
            self._address = await _resolve(self._host, self._port)
            shared = _sessions.setdefault(asyncio.get_running_loop(), {})
            if self._credential not in shared:
                shared[self._credential] = _Session(self._credential)
            self._session = shared[self._credential]
            self._session.users += 1
        return self._session, self._session.target(self._address)

    async def _ask(self, session: _Session, send: _Send) -> tuple[int, int, list[Varbind]]:
        """One request and its answer: error status, error index, varbinds. Errors: PollError."""
        session.transport.awaited[self._address] += 1
        try:
            for _ in range(self._retries + 1):
                answered: _Answered = asyncio.get_running_loop().create_future()
                send(partial(_settle, answered))
                try:
                    async with asyncio.timeout(self._timeout_s):
                        return await answered
                except TimeoutError:
                    continue
        finally:
            session.transport.awaited[self._address] -= 1
        raise PollError(FaultKind.TIMEOUT, f"no answer within {self._timeout_s:g} s, asked {self._retries + 1} times")


def _settle(
    answered: _Answered,
    _engine: object,
    _handle: object,
    indication: object,
    status: Any,
    position: Any,
    varbinds: Any,
    _context: object,
) -> None:
    """pysnmp's callback: one answer, or the news that there will be none."""
    if answered.done() or isinstance(indication, errind.RequestTimedOut):
        return
    try:
        if indication:
            raise PollError(FaultKind.MALFORMED, str(indication)[:100])
        if int(status) in DENIALS:
            raise PollError(FaultKind.DENIED, "the agent refuses this credential access")
        rows = [(tuple(oid), _plain(value)) for oid, value in varbinds]
        answered.set_result((int(status), int(position), rows))
    except PollError as error:
        answered.set_exception(error)
    except Exception:  # noqa: BLE001 -- pyasn1 decodes lazily and raises anything
        answered.set_exception(PollError(FaultKind.MALFORMED, "the answer cannot be decoded"))


def _following(session: _Session, target: str, after: Oid, repetitions: int) -> _Send:
    varbinds = [_empty(after)]
    if repetitions:
        return partial(_BULK.send_varbinds, session.engine, target, None, b"", 0, repetitions, varbinds)
    return partial(_NEXT.send_varbinds, session.engine, target, None, b"", varbinds)


async def _resolve(host: str, port: int) -> _Address:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
        )
    except OSError:
        raise PollError(FaultKind.UNREACHABLE, "the name does not resolve to an IPv4 address") from None
    address = found[0][4]
    return str(address[0]), int(address[1])


@lru_cache(maxsize=32_768)
def _empty(oid: Oid) -> tuple[Any, Any]:
    """The varbind that asks for an OID; the same objects serve every poll and every device."""
    return rfc1902.ObjectName(oid), rfc1905.unSpecified


def _plain(value: Any) -> Value | None:
    # The exceptions of SNMPv2 are Nulls to pyasn1, and every other type is one of the three bases.
    if isinstance(value, univ.Null):
        return None
    if isinstance(value, univ.ObjectIdentifier):
        return tuple(value)
    if isinstance(value, univ.OctetString):
        return bytes(value)
    return int(value)
