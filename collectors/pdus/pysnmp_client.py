"""SNMP by pysnmp, the only module that imports it; itself imported only when a PDU is polled.

pysnmp is correct and slow: an engine costs 150 ms of CPU, a MIB lookup 1 ms per object, so both are avoided. There is
one engine per credential and event loop, shared by all its devices through one UDP socket; requests are made below
pysnmp's convenience layer from varbinds that are built once, and no MIB is ever consulted for an OID. The engine is
where pysnmp keeps v3 users by name alone, so the same name with other keys must not meet there.

pysnmp's timers follow the wall clock and stand still when it is set back, so timeouts and the one retry are made here,
on the event loop's clock; pysnmp's own timer only sweeps up after us.

An answer counts only if it comes from the address that was asked, bears the number of an open request, and holds
together (`datagrams`); pysnmp itself matches by number alone, and drops what it cannot read without a word. Whatever it
drops although it bears our number is Unreadable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from secrets import randbelow
from typing import Any
from weakref import WeakKeyDictionary

from pyasn1.type import univ  # type: ignore[import-untyped]
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.carrier.error import CarrierError
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.proto import errind, rfc1902, rfc1905

from collectors.pdus.asking import Address, Answer, get_all, no_answer, resolve, walk_all
from collectors.pdus.datagrams import (
    TOO_BIG,
    UNKNOWN_ENGINE,
    V1,
    V2C,
    V3,
    Datagram,
    Unreadable,
    discovery,
    inspect,
    message_number,
    refused,
    silently_refused,
    wrong_version,
)
from collectors.pdus.snmp import Credential, Oid, Pace, Value, WalkLimits
from fleet.ports import PollError

SWEEP_S = 4  # after this pysnmp forgets a request that nobody answered

VERSIONS = {"1": V1, "2c": V2C, "3": V3}
AUTH = {
    "sha1": config.USM_AUTH_HMAC96_SHA,
    "sha224": config.USM_AUTH_HMAC128_SHA224,
    "sha256": config.USM_AUTH_HMAC192_SHA256,
    "sha384": config.USM_AUTH_HMAC256_SHA384,
    "sha512": config.USM_AUTH_HMAC384_SHA512,
}
# net-snmp stretches a short hash by Blumenthal's draft too.
PRIV = {
    "aes128": config.USM_PRIV_CFB128_AES,
    "aes192": config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "aes256": config.USM_PRIV_CFB256_AES_BLUMENTHAL,
}

_Send = Callable[[Callable[..., None]], object]


class _OtherEngine(Unreadable):
    """The device has another engine id than pysnmp remembers: it was replaced, or has lost its configuration."""

    def __init__(self, engine_id: bytes) -> None:
        super().__init__("another engine id")
        self.engine_id = engine_id


class _Request:
    """One open request: the numbers that it bore on the wire, and what will become of it."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.is_garbled = False
        self.found: Datagram | None = None

    def settle(self, answer: Answer) -> None:
        if not self.answered.done():
            self.answered.set_result(answer)

    def fail(self, error: PollError) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)

    def take(
        self,
        _engine: object,
        _handle: object,
        indication: object,
        status: Any,
        position: Any,
        varbinds: Any,
        _context: object,
    ) -> None:
        """pysnmp's callback: one answer, or the news that there will be none."""
        if isinstance(indication, errind.RequestTimedOut):
            return
        found = self.found
        if indication:
            is_refusal = isinstance(indication, errind.ReportPduReceived | errind.UnsupportedSecurityLevel)
            if found is not None and (found.report is not None or is_refusal):
                self.fail(refused(found.report or 0))
            else:
                self.fail(Unreadable(f"pysnmp says {type(indication).__name__}"))
            return
        try:
            rows = [(tuple(oid), _plain(value)) for oid, value in varbinds]
            self.settle(Answer(int(status), int(position), rows))
        except Exception:  # noqa: BLE001 -- pyasn1 decodes lazily and raises anything
            self.fail(Unreadable("a value of no known form"))


class _Transport(udp.UdpAsyncioTransport):  # type: ignore[misc]
    """One UDP socket that hears only the devices that owe an answer."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self._version = version
        self._open: dict[Address, list[_Request]] = {}
        self._sending: _Request | None = None

    def open_request(self, address: Address) -> _Request:
        request = _Request()
        self._open.setdefault(address, []).append(request)
        return request

    def close_request(self, address: Address, request: _Request) -> None:
        requests = self._open[address]
        requests.remove(request)
        if not requests:
            del self._open[address]

    def send_for(self, request: _Request, send: Callable[[], object]) -> None:
        """Does what `send` does, and knows that whatever goes out meanwhile belongs to this request."""
        self._sending = request
        try:
            send()
        finally:
            self._sending = None

    def datagram_received(self, datagram: bytes, transportAddress: Any) -> None:
        requests = self._open.get(transportAddress[:2])
        if not requests:
            return
        number = message_number(datagram)
        if number is None:
            for request in requests:
                request.is_garbled = True
            return
        for request in requests:
            if number in request.numbers and not request.answered.done():
                self._hear(request, datagram, transportAddress)
                return

    def _hear(self, request: _Request, datagram: bytes, address: Any) -> None:
        try:
            request.found = found = inspect(datagram, keeps_addresses=True)
        except Unreadable as error:
            request.fail(error)
            return
        if found.version != self._version:
            request.fail(wrong_version(found.version))
            return
        if not found.data:
            request.settle(Answer(TOO_BIG, 0, ()))
            return
        sent = len(request.numbers)
        try:
            self.send_for(request, partial(self._callback_function, self, address, found.data))
        except Exception:  # noqa: BLE001, S110 -- the decoder raises anything on hostile bytes; that is dropping too
            pass
        if len(request.numbers) > sent or request.answered.done():
            return  # pysnmp has an answer, or has learnt the device's engine id or clock and asks again
        if found.report == UNKNOWN_ENGINE and found.engine_id:
            request.fail(_OtherEngine(found.engine_id))
        else:
            request.fail(Unreadable("what pysnmp does not take"))

    def send_message(self, outgoingMessage: bytes, transportAddress: Any) -> None:
        number = message_number(bytes(outgoingMessage))
        if self._sending is not None and number is not None:
            self._sending.numbers.add(number)
        try:
            super().send_message(outgoingMessage, transportAddress)
        except CarrierError:
            return  # not sent is not answered; raising here would end pysnmp's own timer task


class _Session:
    """One engine with its socket and its table of targets; lives as long as a client uses it."""

    def __init__(self, credential: Credential) -> None:
        self.users = 0
        self.engine = SnmpEngine()
        self.transport = _Transport(VERSIONS[credential.version])
        if credential.version == "3":
            _add_user(self.engine, credential)
            config.add_target_parameters(self.engine, "how", credential.user, credential.level, V3)
        else:
            config.add_v1_system(self.engine, "area", credential.community, transportTag=b"")
            config.add_target_parameters(self.engine, "how", "area", "noAuthNoPriv", VERSIONS[credential.version])
        config.add_transport(self.engine, udp.DOMAIN_NAME, self.transport.open_client_mode())
        # Each remembers what it has asked until the sweep, so they must not outlive the engine that sweeps.
        self.get = cmdgen.GetCommandGenerator()
        self.next = cmdgen.NextCommandGeneratorSingleRun()
        self.bulk = cmdgen.BulkCommandGeneratorSingleRun()
        self._targets: dict[Address, str] = {}

    def target(self, address: Address) -> str:
        """Name of the target row of a device; rows are kept, for making one costs more than a poll."""
        if address not in self._targets:
            name = f"device{len(self._targets)}"
            config.add_target_address(self.engine, name, udp.DOMAIN_NAME, address, "how", SWEEP_S * 100, 0)
            self._targets[address] = name
        return self._targets[address]

    def learn_engine(self, address: Address, engine_id: bytes) -> None:
        """Corrects what pysnmp remembers for five minutes about a device; it has no door for that."""
        model = self.engine.message_processing_subsystems[V3]
        known = model._SnmpV3MessageProcessingModel__engineIdCache.get((udp.DOMAIN_NAME, address))
        if known is not None:
            known["securityEngineId"] = known["contextEngineId"] = known["securityEngineId"].clone(engine_id)

    def close(self) -> None:
        self.engine.close_dispatcher()


def _add_user(engine: SnmpEngine, credential: Credential) -> None:
    """Hashing the passphrases takes a while, so it happens once per engine and never in a poll."""
    keys: dict[str, Any] = {}
    if credential.level != "noAuthNoPriv":
        keys |= {"authProtocol": AUTH[credential.auth], "authKey": credential.auth_key}
    if credential.level == "authPriv":
        keys |= {"privProtocol": PRIV[credential.priv], "privKey": credential.priv_key}
    config.add_v3_user(engine, credential.user, **keys)


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Credential, _Session]] = WeakKeyDictionary()


def open_sessions() -> int:
    """Engines of the running loop: one per credential that a client uses."""
    return len(_sessions.get(asyncio.get_running_loop(), {}))


class PysnmpClient:
    """One device; implements `snmp.SnmpClient`. A wrong community looks like silence: TIMEOUT.

    `tags` learns the BER tag of every object that answers, which only a recording needs.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credential: Credential,
        *,
        timeout_s: float = 2.0,
        retries: int = 1,
        tags: dict[Oid, int] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._credential = credential
        self._timeout_s = timeout_s
        self._retries = retries
        self._pace = Pace()
        self._session: _Session | None = None
        self._address: Address = (host, port)
        self._is_let_in = credential.version != "3"
        self._tags = tags

    @property
    def engine(self) -> str:
        return "pysnmp"

    def set_pace(self, pace: Pace) -> None:
        self._pace = pace

    async def get(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        session, target = await self._open()

        async def ask(asked: Sequence[Oid]) -> Answer:
            varbinds = [_empty(oid) for oid in asked]
            return await self._ask(
                session, partial(session.get.send_varbinds, session.engine, target, None, b"", varbinds)
            )

        return await get_all(ask, oids, self._pace)

    async def walk(self, root: Oid, limits: WalkLimits = WalkLimits()) -> dict[Oid, Value]:  # noqa: B008 -- frozen
        session, target = await self._open()

        async def ask(after: Oid, repetitions: int) -> Answer:
            varbinds = [_empty(after)]
            if repetitions and self._credential.version != "1":
                send = partial(session.bulk.send_varbinds, session.engine, target, None, b"", 0, repetitions, varbinds)
            else:
                send = partial(session.next.send_varbinds, session.engine, target, None, b"", varbinds)
            return await self._ask(session, send)

        return await walk_all(ask, root, self._pace, limits)

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
            self._address = await resolve(self._host, self._port)
            shared = _sessions.setdefault(asyncio.get_running_loop(), {})
            if self._credential not in shared:
                shared[self._credential] = _Session(self._credential)
            self._session = shared[self._credential]
            self._session.users += 1
        return self._session, self._session.target(self._address)

    async def _ask(self, session: _Session, send: _Send) -> Answer:
        """One request and its answer. Errors: PollError."""
        fault: PollError | None = None
        tries = self._retries + 1
        while tries:
            tries -= 1
            try:
                answer = await self._try(session, lambda request: send(self._noting(request.take)))
            except _OtherEngine as error:
                if isinstance(fault, _OtherEngine):
                    raise refused(UNKNOWN_ENGINE) from None
                fault = error
                session.learn_engine(self._address, error.engine_id)
                tries += 1
            except Unreadable as error:
                fault = error
            except TimeoutError:
                continue
            else:
                self._is_let_in = True
                return answer
        if fault is None and not self._is_let_in:
            await self._check_whether_there(session)
        raise fault or no_answer(self._timeout_s, self._retries + 1)

    def _noting(self, take: Callable[..., None]) -> Callable[..., None]:
        """The same callback of pysnmp, with an eye on the tags where somebody wants them."""
        tags = self._tags
        if tags is None:
            return take

        def note(*answer: Any) -> None:
            *_, varbinds, _context = answer
            tags.update((tuple(oid), _tag(value)) for oid, value in varbinds or () if not isinstance(value, univ.Null))
            take(*answer)

        return note

    async def _try(self, session: _Session, send: Callable[[_Request], object]) -> Answer:
        """Errors: PollError, Unreadable if only garbage came, TimeoutError if nothing did."""
        request = session.transport.open_request(self._address)
        try:
            session.transport.send_for(request, lambda: send(request))
            async with asyncio.timeout(self._timeout_s):
                return await request.answered
        except TimeoutError:
            if request.is_garbled:
                raise Unreadable("not SNMP") from None
            raise
        finally:
            session.transport.close_request(self._address, request)

    async def _check_whether_there(self, session: _Session) -> None:
        """Errors: PollError DENIED if the device answers, only not to what this user encrypts."""
        message = discovery(randbelow(2**31))
        try:
            await self._try(session, lambda _: session.transport.send_message(message, self._address))
        except TimeoutError:
            return
        except Unreadable:  # pysnmp drops what it has not asked for; that something came is all we want to know
            raise silently_refused() from None


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


def _tag(value: Any) -> int:
    """The BER tag of a simple type: 2 for INTEGER, 65 (application 1) for Counter32."""
    tag = value.tagSet[-1]
    return int(tag.tagClass | tag.tagId)
