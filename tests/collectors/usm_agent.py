"""An SNMPv3 agent for tests, written from RFC 3412, 3414, 3826 and 7860 and sharing no code with what it tests.

It answers like `UdpAgent`, behind the user-based security model: it reports what RFC 3414 makes it report, and can lie
about its signature, its clock and its engine id.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

try:  # it has moved there
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB
from udp_agent import Behaviour, Oid, Request, UdpAgent, answer_pdu, integer, parse_pdu, take, tlv

REPORT = 0xA8
USM_STATS: Oid = (1, 3, 6, 1, 6, 3, 15, 1, 1)
UNSUPPORTED_LEVEL, NOT_IN_TIME, UNKNOWN_USER, UNKNOWN_ENGINE, WRONG_DIGEST, DECRYPTION = range(1, 7)
SIGNATURE_OCTETS = {"sha1": 12, "sha224": 16, "sha256": 24, "sha384": 32, "sha512": 48}
SIGNED, ENCRYPTED = 1, 2


@lru_cache
def localized_key(algorithm: str, passphrase: str, engine_id: bytes) -> bytes:
    """RFC 3414, A.2: the passphrase repeated to a mebibyte, hashed, and hashed again around the engine id."""
    text = passphrase.encode()
    master = hashlib.new(algorithm, (text * (2**20 // len(text) + 1))[: 2**20]).digest()
    return hashlib.new(algorithm, master + engine_id + master).digest()


class UsmAgent(UdpAgent):
    """Knows one user, with a SHA key and an AES-128 key."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        user: str = "reader",
        auth: str = "sha256",
        auth_key: str = "authpass1",
        priv_key: str = "privpass1",
        level: int = SIGNED | ENCRYPTED,
    ) -> None:
        super().__init__(behaviour)
        self.user = user.encode()
        self.level = level
        self.engine_id = b"\x80\x00\x1f\x88\x04synthetic"
        self.boots, self.time = 3, 1000
        self.is_forgetful = False
        """Reports not-in-time whatever it is told."""
        self.signs_wrong = False
        self.answers_at_level = level
        self.reports: list[int] = []
        self._asking_user = b""
        self._auth, self._auth_key, self._priv_key = auth, auth_key, priv_key

    def answers(self, data: bytes) -> Iterable[bytes]:
        _, message, _ = take(data)
        _, _, rest = take(message)
        _, header, rest = take(rest)
        _, security, rest = take(rest)
        _, number, header = take(header)
        _, _, header = take(header)
        flags = take(header)[1][0]
        _, security, _ = take(security)
        fields = []
        while security:
            _, field, security = take(security)
            fields.append(field)
        engine_id, boots, time, user, signature, salt = fields
        self._asking_user = user
        if engine_id != self.engine_id:
            return [self._report(number, UNKNOWN_ENGINE)]
        if user != self.user:
            return [self._report(number, UNKNOWN_USER)]
        if flags & 3 != self.level:
            return [self._report(number, UNSUPPORTED_LEVEL)]
        if flags & SIGNED and signature != self._sign(data.replace(signature, bytes(len(signature)))):
            return [self._report(number, WRONG_DIGEST)]
        clock = (int.from_bytes(boots, "big"), int.from_bytes(time, "big"))
        if flags & SIGNED and (clock != (self.boots, self.time) or self.is_forgetful):
            return [self._report(number, NOT_IN_TIME, SIGNED)]
        if flags & ENCRYPTED:
            rest = self._crypt(take(rest)[1], salt)
        try:
            _, scoped, _ = take(rest)
            _, _, scoped = take(scoped)
            _, _, scoped = take(scoped)
            request = parse_pdu(scoped)
        except (IndexError, ValueError):
            return [self._report(number, DECRYPTION)]
        return [self._wrap(number, pdu, self.answers_at_level) for pdu in self._pdus(request)]

    def _pdus(self, request: Request) -> Iterable[bytes]:
        for message in self.behaviour(request):
            try:
                yield take(take(take(message)[1])[2])[2]
            except IndexError:
                yield message  # garbage under a good signature

    def _report(self, number: bytes, what: int, level: int = 0) -> bytes:
        self.reports.append(what)
        request = Request(b"", 0, integer(0), 0, 0, ())
        return self._wrap(number, answer_pdu(request, [((*USM_STATS, what, 0), tlv(0x41, b"\x01"))], tag=REPORT), level)

    def _wrap(self, number: bytes, pdu: bytes, level: int) -> bytes:
        data = tlv(0x30, tlv(4, self.engine_id) + tlv(4, b"") + pdu)
        salt = b"saltsalt" if level & ENCRYPTED else b""
        if level & ENCRYPTED:
            data = tlv(4, self._crypt(data, salt, is_decryption=False))
        blank = bytes(SIGNATURE_OCTETS[self._auth]) if level & SIGNED else b""
        fields = tlv(4, self.engine_id) + integer(self.boots) + integer(self.time) + tlv(4, self._asking_user)
        security = tlv(4, tlv(0x30, fields + tlv(4, blank) + tlv(4, salt)))
        header = tlv(0x30, tlv(2, number) + integer(65_507) + tlv(4, bytes((level,))) + integer(3))
        message = tlv(0x30, integer(3) + header + security + data)
        if not level & SIGNED:
            return message
        signature = self._sign(message)
        if self.signs_wrong:
            signature = bytes((signature[0] ^ 1,)) + signature[1:]
        return message.replace(blank, signature, 1)

    def _sign(self, message: bytes) -> bytes:
        key = localized_key(self._auth, self._auth_key, self.engine_id)
        return hmac.digest(key, message, self._auth)[: SIGNATURE_OCTETS[self._auth]]

    def _crypt(self, data: bytes, salt: bytes, *, is_decryption: bool = True) -> bytes:
        key = localized_key(self._auth, self._priv_key, self.engine_id)[:16]
        start = self.boots.to_bytes(4, "big") + self.time.to_bytes(4, "big") + salt
        cipher = Cipher(algorithms.AES(key), CFB(start))
        turn = cipher.decryptor() if is_decryption else cipher.encryptor()
        return turn.update(data) + turn.finalize()
