"""SNMP by gufo_snmp, the only module that imports it: gufo is the codec, the wire is ours.

gufo encodes, encrypts and decodes in Rust, thirty times as fast as pysnmp. But its client believes what arrives: it
does not verify the signature of a v3 answer, loses the error status, walks without end, and stops with a panic on some
bad bytes. So the descriptor of each gufo socket is replaced by one end of a pipe: what gufo sends comes out at the
other end and goes out through one UDP socket that all devices of an event loop share; what arrives there must come
from the address that was asked and bear the number of an open request, must hold together (`datagrams`) and, under v3,
be signed and encrypted as we demanded, before gufo may read it.

One request is one `send_…` and one `recv_…` of gufo's socket, so the walk stays ours. The iterator that sends says
where to go on, the one that receives only says where the subtree ends.

An error status is read from the datagram itself, except under authPriv, where only gufo sees it and gives an empty
answer for everything from tooBig to "I have none of these". There, GETs carry sysUpTime along, which every agent has:
without it the answer was an error, and is asked for in halves; a GETBULK without rows is confirmed by one GETNEXT.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from gufo.snmp._fast import (
    GetIter,
    SnmpAuthError,
    SnmpEncodeError,
    SnmpError,
    SnmpV1ClientSocket,
    SnmpV2cClientSocket,
    SnmpV3ClientSocket,
    get_localized_key,
    get_master_key,
)

from collectors.pdus.asking import Address, Answer, get_all, no_answer, resolve, walk_all
from collectors.pdus.datagrams import (
    IS_ENCRYPTED,
    IS_SIGNED,
    NO_ERROR,
    NOT_IN_TIME,
    TOO_BIG,
    UNKNOWN_ENGINE,
    V1,
    V2C,
    V3,
    Datagram,
    Unreadable,
    inspect,
    message_number,
    refused,
    silently_refused,
    wrong_version,
)
from collectors.pdus.snmp import SYS_UPTIME, Credential, Oid, Pace, Value, Varbind, WalkLimits, format_oid
from fleet.ports import PollError
from fleet.readings import FaultKind

os.environ["RUST_BACKTRACE"] = "0"  # where gufo panics over what a device sends, its stack helps nobody

NOWHERE = "127.0.0.1:9"  # a gufo socket wants an address; nothing is ever sent there

AUTH = {"sha1": 4, "sha224": 7, "sha256": 10, "sha384": 11, "sha512": 12}
PRIV = {"aes128": 2, "aes192": 3, "aes256": 4}
SIGNATURE_OCTETS = {"sha1": 12, "sha224": 16, "sha256": 24, "sha384": 32, "sha512": 48}
PRIV_KEY_OCTETS = {"aes128": 16, "aes192": 24, "aes256": 32}
BLUMENTHAL = 1  # how a short hash is stretched for AES-192 and AES-256; pysnmp is told the same
IS_MASTER_KEY = 1 << 6
MAX_REQUEST_OCTETS = 65_536

_Receive: TypeAlias = Callable[[Any, Datagram], Answer]
NOTHING = Answer(NO_ERROR, 0, ())

_Codec: TypeAlias = SnmpV1ClientSocket | SnmpV2cClientSocket | SnmpV3ClientSocket


class _Request:
    """One open request: what will become of it, and whether bytes came that say nothing."""

    __slots__ = ("answered", "is_garbled")

    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.is_garbled = False

    def settle(self, data: bytes | None) -> None:
        if not self.answered.done():
            self.answered.set_result(data)


class _Wire(asyncio.DatagramProtocol):
    """The UDP socket of one event loop. It hears only the devices that owe an answer."""

    def __init__(self) -> None:
        self.users = 0
        self._open: dict[Address, dict[int, _Request]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._opening = asyncio.Lock()
        # What a codec sends comes out at `inner`, what it shall read goes in there. One pipe serves them all, for
        # each of them writes and reads without pause.
        self.inner, self._outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inner.setblocking(False)
        self._outer.setblocking(False)
        self._idle: dict[Credential, list[_Codec]] = {}

    async def open(self) -> None:
        async with self._opening:
            if self._transport is None:
                loop = asyncio.get_running_loop()
                try:
                    self._transport, _ = await loop.create_datagram_endpoint(lambda: self, family=socket.AF_INET)
                except OSError:
                    raise PollError(FaultKind.UNREACHABLE, "no UDP socket can be opened") from None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        for codecs in self._idle.values():
            codecs.clear()  # each holds a descriptor, and a client may still know its list
        self.inner.close()
        self._outer.close()

    def adopt(self, codec: _Codec) -> None:
        """Puts our pipe in the place of the codec's own socket."""
        os.dup2(self._outer.fileno(), codec.get_fd(), inheritable=False)

    def idle(self, credential: Credential) -> list[_Codec]:
        """The codecs of v1 or v2c that wait for a request of this credential."""
        return self._idle.setdefault(credential, [])

    def codec(self, credential: Credential) -> _Codec:
        """A codec for one request at a time of v1 or v2c; it remembers the number of the request that it sent."""
        kind = SnmpV1ClientSocket if credential.version == "1" else SnmpV2cClientSocket
        codec = kind(NOWHERE, credential.community, 0, 0, 0, 0)
        self.adopt(codec)
        return codec

    async def ask(self, address: Address, request: bytes, timeout_s: float, retries: int, version: int) -> Datagram:
        """Sends, again if nothing comes, and waits. Errors: PollError TIMEOUT, MALFORMED, Unreadable."""
        assert self._transport is not None
        number = message_number(request)
        assert number is not None
        loop = asyncio.get_running_loop()
        numbers = self._open.setdefault(address, {})
        fault: PollError | None = None
        try:
            for _ in range(retries + 1):
                numbers[number] = waiting = _Request()
                timer = loop.call_later(timeout_s, waiting.settle, None)
                try:
                    self._transport.sendto(request, address)
                    data = await waiting.answered
                finally:
                    timer.cancel()
                if data is None:
                    if waiting.is_garbled:
                        fault = Unreadable("not SNMP")
                    continue
                try:
                    found = inspect(data)
                except Unreadable as error:
                    fault = error
                    continue
                if found.version != version:
                    raise wrong_version(found.version)
                return found
        finally:
            del numbers[number]
            if not numbers:
                self._open.pop(address, None)
        raise fault or no_answer(timeout_s, retries + 1)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        numbers = self._open.get(addr[:2])
        if not numbers:
            return
        number = message_number(data)
        if number is None:
            for waiting in numbers.values():
                waiting.is_garbled = True
        elif number in numbers:
            numbers[number].settle(data)

    def error_received(self, exc: Exception) -> None:
        """Not sent is not answered; the request times out."""


_wires: WeakKeyDictionary[asyncio.AbstractEventLoop, _Wire] = WeakKeyDictionary()


def open_wires() -> int:
    """Wires of the running loop: one while any client uses it."""
    return int(asyncio.get_running_loop() in _wires)


class GufoClient:
    """One device; implements `snmp.SnmpClient`. A wrong community looks like silence: TIMEOUT."""

    def __init__(
        self, host: str, port: int, credential: Credential, *, timeout_s: float = 2.0, retries: int = 1
    ) -> None:
        self._host = host
        self._port = port
        self._credential = credential
        self._timeout_s = timeout_s
        self._retries = retries
        self._pace = Pace()
        self._wire: _Wire | None = None
        self._idle: list[_Codec] = []
        self._address: Address = (host, port)
        self._user = _User(credential) if credential.version == "3" else None
        self._is_seen = False
        self._turn = asyncio.Lock()

    @property
    def engine(self) -> str:
        return "gufo"

    def set_pace(self, pace: Pace) -> None:
        self._pace = pace

    async def get(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        wire = await self._open()

        async def ask(asked: Sequence[Oid]) -> Answer:
            # Where the error status cannot be seen, sysUpTime tells an error from an answer that has nothing.
            witness = self._is_encrypted and SYS_UPTIME not in asked
            texts = [_text(oid) for oid in ((*asked, SYS_UPTIME) if witness else asked)]
            return await self._exchange(wire, lambda codec: codec.send_get_many(texts), self._many)

        found = await get_all(ask, oids, self._pace)
        if self._is_encrypted and not self._is_seen:
            raise PollError(FaultKind.DENIED, "auth: the device shows this user nothing")
        return found

    def _many(self, codec: _Codec, found: Datagram) -> Answer:
        plain = _PLAIN[found.version]
        rows = [(_oid(text), plain(value)) for text, value in codec.recv_get_many().items()]
        self._is_seen = self._is_seen or bool(rows)
        return Answer(TOO_BIG if self._is_encrypted and not rows else NO_ERROR, 0, rows)

    async def walk(self, root: Oid, limits: WalkLimits = WalkLimits()) -> dict[Oid, Value]:  # noqa: B008 -- frozen
        wire = await self._open()
        within = GetIter(_text(root), 1)

        async def ask(after: Oid, repetitions: int) -> Answer:
            here = GetIter(_text(after), repetitions)
            if self._credential.version == "1" or not repetitions:
                return await self._exchange(
                    wire, lambda codec: codec.send_get_next(here), lambda codec, found: _next(codec, found, within)
                )
            answer = await self._exchange(
                wire, lambda codec: codec.send_get_bulk(here), lambda codec, found: _bulk(codec, found, within)
            )
            if self._is_encrypted and answer == NOTHING and (await ask(after, 0)).varbinds:
                return Answer(TOO_BIG, 0, ())
            return answer

        return await walk_all(ask, root, self._pace, limits)

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if self._user is not None:
            self._user.codec = None
        wire.users -= 1
        if wire.users == 0:
            _wires.pop(asyncio.get_running_loop(), None)
            wire.close()

    @property
    def _is_encrypted(self) -> bool:
        return self._user is not None and bool(self._user.flags & IS_ENCRYPTED)

    async def _open(self) -> _Wire:
        if self._wire is None:
            self._address = await resolve(self._host, self._port)
            loop = asyncio.get_running_loop()
            if loop not in _wires:
                _wires[loop] = _Wire()
            self._wire = _wires[loop]
            self._idle = self._wire.idle(self._credential)
            self._wire.users += 1
        await self._wire.open()
        return self._wire

    async def _exchange(self, wire: _Wire, send: Callable[[_Codec], None], receive: _Receive) -> Answer:
        if self._user is not None:
            async with self._turn:
                return await self._exchange_v3(wire, self._user, send, receive)
        codec = self._idle.pop() if self._idle else wire.codec(self._credential)
        try:
            if (request := _encode(wire, codec, send)) is None:
                return Answer(TOO_BIG, 0, ())
            found = await self._ask(wire, request, V1 if self._credential.version == "1" else V2C)
            return _decode(wire, codec, found, receive)
        finally:
            self._idle.append(codec)

    async def _exchange_v3(self, wire: _Wire, user: _User, send: Callable[[_Codec], None], receive: _Receive) -> Answer:
        """One request; once each a device may have a new clock, as after a restart, and a new engine id."""
        excused = {NOT_IN_TIME, UNKNOWN_ENGINE}
        while True:
            codec = user.codec or await self._discover(wire, user)
            if (request := _encode(wire, codec, send)) is None:
                return Answer(TOO_BIG, 0, ())
            try:
                found = await self._ask(wire, request, V3)
            except PollError as error:
                if error.kind is FaultKind.TIMEOUT and not user.is_let_in:
                    await self._discover(wire, user)
                    raise silently_refused() from None
                raise
            if found.report is None:
                user.verify(found, user.flags)
                user.is_let_in = True
                return _decode(wire, codec, found, receive)
            if found.report not in excused:
                raise refused(found.report)
            excused.remove(found.report)
            if found.report == UNKNOWN_ENGINE:
                user.codec = None
            else:
                user.verify(found, IS_SIGNED)
                _decode(wire, codec, found, _refresh)

    async def _discover(self, wire: _Wire, user: _User) -> SnmpV3ClientSocket:
        """A codec that knows the engine id of the device; its clock is learnt from the first refusal."""
        codec = SnmpV3ClientSocket(NOWHERE, b"", "", 0, b"", 0, b"", 0, 0, 0, 0)
        wire.adopt(codec)
        request = _encode(wire, codec, lambda _: codec.send_refresh())
        assert request is not None
        found = await self._ask(wire, request, V3)
        _decode(wire, codec, found, _refresh)
        if not codec.get_engine_id():
            raise Unreadable("no engine id")
        user.bind(codec)
        return codec

    async def _ask(self, wire: _Wire, request: bytes, version: int) -> Datagram:
        return await wire.ask(self._address, request, self._timeout_s, self._retries, version)


class _User:
    """A v3 user at one device: the keys, and the codec that holds the device's engine id and clock."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._keys = _master_keys(credential)
        self._signing_key = b""
        self.is_let_in = False
        self.codec: SnmpV3ClientSocket | None = None
        self.flags = {"noAuthNoPriv": 0, "authNoPriv": IS_SIGNED, "authPriv": IS_SIGNED | IS_ENCRYPTED}[
            credential.level
        ]

    def bind(self, codec: SnmpV3ClientSocket) -> None:
        """Gives the codec the keys of this user at the device whose engine id it has learnt."""
        auth, priv = _algorithms(self._credential)
        codec.set_keys(
            self._credential.user,
            auth | IS_MASTER_KEY if auth else 0,
            self._keys[0],
            priv | IS_MASTER_KEY if priv else 0,
            self._keys[1],
        )
        if self.flags & IS_SIGNED:
            self._signing_key = get_localized_key(AUTH[self._credential.auth], self._keys[0], codec.get_engine_id())
        self.codec = codec

    def verify(self, found: Datagram, demanded: int) -> None:
        """Errors: Unreadable, for what is not protected as demanded: gufo would believe it."""
        if found.status == TOO_BIG and not found.data:
            return  # too long to look at, so there is nothing in it to believe
        if found.flags & demanded != demanded:
            raise Unreadable("it is not signed and encrypted as we demand")
        if demanded & IS_SIGNED:
            start, end = found.signature
            unsigned = found.data[:start] + bytes(end - start) + found.data[end:]
            digest = hmac.digest(self._signing_key, unsigned, self._credential.auth)
            if not hmac.compare_digest(found.data[start:end], digest[: SIGNATURE_OCTETS[self._credential.auth]]):
                raise Unreadable("its signature is wrong")


@lru_cache(maxsize=64)
def _master_keys(credential: Credential) -> tuple[bytes, bytes]:
    """Hashing a passphrase into a key takes milliseconds, so it is done once, and never in a poll."""
    algorithm = AUTH[credential.auth]
    auth = get_master_key(algorithm, credential.auth_key.encode()) if credential.auth_key else b""
    priv = get_master_key(algorithm, credential.priv_key.encode()) if credential.level == "authPriv" else b""
    return auth, priv


def _algorithms(credential: Credential) -> tuple[int, int]:
    """gufo's numbers for authentication (with how its hash is stretched to the key of the cipher) and privacy."""
    if credential.level == "noAuthNoPriv":
        return 0, 0
    auth = AUTH[credential.auth]
    if credential.level == "authNoPriv":
        return auth, 0
    is_short = hashlib.new(credential.auth).digest_size < PRIV_KEY_OCTETS[credential.priv]
    return auth + (BLUMENTHAL if is_short else 0), PRIV[credential.priv]


def _encode(wire: _Wire, codec: _Codec, send: Callable[[_Codec], None]) -> bytes | None:
    """The request that `send` makes; None if it is larger than gufo can make."""
    try:
        send(codec)
    except SnmpEncodeError:
        return None
    return wire.inner.recv(MAX_REQUEST_OCTETS)


def _decode(wire: _Wire, codec: _Codec, found: Datagram, receive: _Receive) -> Answer:
    """What gufo reads in a datagram that has been looked through. Errors: Unreadable."""
    if found.status and found.report is None:
        return Answer(found.status, found.position, ())
    wire.inner.send(found.data)
    try:
        return receive(codec, found)
    except StopAsyncIteration:
        return NOTHING
    except BlockingIOError:
        raise Unreadable("it is not for us") from None  # another community, another user, another engine
    except SnmpAuthError:  # a REPORT inside what is encrypted; its signature is right, so it is meant
        raise refused(0) from None
    except (SnmpError, RuntimeError):  # whose texts may quote the device
        raise Unreadable("what gufo says") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Unreadable("gufo panics") from None


def _refresh(codec: SnmpV3ClientSocket, found: Datagram) -> Answer:
    codec.recv_refresh()
    return NOTHING


def _next(codec: _Codec, found: Datagram, within: GetIter) -> Answer:
    text, value = codec.recv_get_next(within)
    return Answer(NO_ERROR, 0, ((_oid(text), _PLAIN[found.version](value)),))


def _bulk(codec: _Codec, found: Datagram, within: GetIter) -> Answer:
    """gufo ends its list with None where the subtree ends, and leaves out endOfMibView: a row without a value."""
    rows, plain = codec.recv_get_bulk(within), _PLAIN[found.version]
    answer: list[Varbind] = [(_oid(row[0]), plain(row[1])) for row in rows if row is not None]
    if rows[-1] is None or (found.rows is not None and len(rows) < found.rows):
        answer.append(((), None))
    return Answer(NO_ERROR, 0, answer)


@lru_cache(maxsize=65_536)
def _text(oid: Oid) -> str:
    return format_oid(oid)


@lru_cache(maxsize=65_536)
def _oid(text: str) -> Oid:
    return tuple(map(int, text.split(".")))


def _plain(value: object) -> Value | None:
    if type(value) is int or type(value) is bytes:
        return value
    if isinstance(value, str):
        return _oid(value)
    return None if value is None else str(value).encode()  # BOOLEAN and REAL, which no agent sends


def _plain_v3(value: object) -> Value | None:
    """gufo writes OIDs and IpAddresses alike, and here no tag could be changed: four octets are an address."""
    plain = _plain(value)
    return bytes(plain) if isinstance(plain, tuple) and len(plain) == 4 and max(plain) < 256 else plain


_PLAIN = {V1: _plain, V2C: _plain, V3: _plain_v3}
