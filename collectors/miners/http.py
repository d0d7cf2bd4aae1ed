"""One HTTP/1.1 request, one response, one connection, within one deadline: pages of miners that the cgminer API lacks.

h11 knows the grammar, the event loop's low-level Protocol carries the bytes, and everything that a machine could send
without end is counted: bytes as they arrive (framing included), pieces, interim answers, the header. A redirect is an
answer like any other and is never followed, so nobody but the host that the operator named is ever asked. Nothing
compressed is asked for or accepted, so no small answer can become a large one.

`Digest` is the login of RFC 7616. It keeps the server's nonce: after the first refusal a question costs one request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

import h11

from collectors.miners.cgminer import MAX_REPLY_BYTES
from collectors.miners.make import HTTP_PORT, Credential
from collectors.miners.transport import CONNECT_S, collect
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_BYTES = MAX_REPLY_BYTES
MAX_HEAD_BYTES = 16 * 1024

# h11 costs microseconds per event, and a chunk may be one byte: a response in more pieces than this is no honest one.
MAX_EVENTS = 4 * 1024


class Response(NamedTuple):
    """Status, headers with their names in lower case, and the body without its framing."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """First header of this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


async def request(
    host: str,
    port: int,
    method: str,
    target: str,
    deadline_at: float,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    digest: Digest | None = None,
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_BYTES,
) -> Response:
    """The response to one request, whatever its status. With a `digest` a challenge is answered, once.

    Errors: PollError REFUSED (host up, port closed), UNREACHABLE (no connection), TIMEOUT (connected, then silent),
            OVERSIZE, UNSUPPORTED (something other than HTTP), MALFORMED (reset, cut, compressed, against the grammar).
    """
    given = (("Host", _authority(host, port)), ("Accept-Encoding", "identity"), ("Connection", "close"), *headers)
    for has_answered in (False, True):
        login = (("Authorization", digest.authorization(method, target)),) if digest and digest.is_ready else ()
        conversation = _Conversation(method, target, (*given, *login), body, max_bytes)
        await collect(conversation, host, port, conversation.request, deadline_at, connect_s=connect_s)
        response = conversation.finish()
        if digest is None or response.status != 401:
            return response
        challenges = (value for name, value in response.headers if name == "www-authenticate")
        if has_answered or not digest.accept(challenges):
            digest.forget()
            return response
    raise AssertionError("unreachable")


def require_ok(response: Response, what: str) -> None:
    """Raise what a status other than 2xx means: DENIED for access; UNSUPPORTED for pages that the firmware has not,
    and for redirects, which are not followed; MALFORMED for the rest."""
    status = response.status
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise PollError(FaultKind.DENIED, f"{what}: HTTP {status}")
    if 300 <= status < 400:
        raise PollError(FaultKind.UNSUPPORTED, f"{what}: redirects, HTTP {status}")
    if status in (404, 405, 501):
        raise PollError(FaultKind.UNSUPPORTED, f"{what}: HTTP {status}")
    raise PollError(FaultKind.MALFORMED, f"{what}: HTTP {status}")


def as_text(response: Response) -> bytes:
    """The whole response as a page: status line, headers, an empty line, the body."""
    head = [f"HTTP/1.1 {response.status}", *(f"{name}: {value}" for name, value in response.headers), "", ""]
    return "\r\n".join(head).encode("latin-1") + response.body


def _authority(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == HTTP_PORT else f"{name}:{port}"


# --- one conversation --------------------------------------------------------------------------------------------


class _Conversation:
    """The bytes of one request, and the response from the bytes that come back. No I/O.

    Errors: PollError as `request` has them; a header that no request may carry is MALFORMED, too.
    """

    def __init__(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes | None, max_bytes: int
    ) -> None:
        if body is not None:
            if not any(name.lower() == "content-type" for name, _ in headers):
                headers += (("Content-Type", "application/json"),)
            headers += (("Content-Length", str(len(body))),)
        self._grammar = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._max_bytes = max_bytes
        self._received = 0
        self._events = 0
        self._start = b""
        self._head: h11.Response | None = None
        self._is_whole = False
        self._body = bytearray()
        try:
            encoded = [(name.encode(), value.encode()) for name, value in headers]
            sent = [self._grammar.send(h11.Request(method=method, target=target, headers=encoded))]
            if body is not None:
                sent.append(self._grammar.send(h11.Data(data=body)))
            sent.append(self._grammar.send(h11.EndOfMessage()))
        except (h11.ProtocolError, UnicodeError):
            raise PollError(FaultKind.MALFORMED, "a request that HTTP cannot carry") from None
        self.request = b"".join(part for part in sent if part)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes (b"" = the end of the stream); True when the response is whole."""
        self._received += len(data)
        if self._received > self._max_bytes + MAX_HEAD_BYTES:
            raise _oversize(self._max_bytes)
        self._require_http(data)
        try:
            self._grammar.receive_data(data)
            while (event := self._grammar.next_event()) is not h11.NEED_DATA:
                self._events += 1
                if self._events > MAX_EVENTS:
                    raise PollError(FaultKind.OVERSIZE, f"response in more than {MAX_EVENTS} pieces")
                if isinstance(event, h11.Response):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > self._max_bytes:
                        raise _oversize(self._max_bytes)
                elif isinstance(event, h11.EndOfMessage):
                    self._is_whole = True
                    return True
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                raise _long_head() from None
            # Its own words quote the machine's bytes.
            raise PollError(FaultKind.MALFORMED, "cut off, or against the grammar of HTTP") from None
        return False

    def finish(self) -> Response:
        """The response, at its own end or at the end of the stream, whichever came first."""
        if not self._received:
            raise PollError(FaultKind.MALFORMED, "closed without a response")
        if not self._is_whole:
            self.feed(b"")
        assert self._head is not None  # the grammar knows no end before a head
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._head.headers)
        return Response(self._head.status_code, headers, bytes(self._body))

    def _require_http(self, data: bytes) -> None:
        """Known from the first five bytes: an API of another kind on this port may wait for more without end."""
        if len(self._start) < 5:
            self._start += data[: 5 - len(self._start)]
            if not b"HTTP/".startswith(self._start):
                raise PollError(FaultKind.UNSUPPORTED, "does not speak HTTP on this port")

    def _begin(self, head: h11.Response) -> None:
        """Refuse by the header alone what would be refused in the end, before any byte of it is kept."""
        self._head = head
        if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEAD_BYTES:
            raise _long_head()
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._max_bytes:
                raise _oversize(self._max_bytes)
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise PollError(FaultKind.MALFORMED, "compressed, though not asked to")


def _oversize(max_bytes: int) -> PollError:
    return PollError(FaultKind.OVERSIZE, f"response longer than {max_bytes} bytes")


def _long_head() -> PollError:
    return PollError(FaultKind.OVERSIZE, f"header longer than {MAX_HEAD_BYTES} bytes")


# --- login -------------------------------------------------------------------------------------------------------

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
MAX_CHALLENGE_CHARS = 2048

# Possessive, so that no challenge takes more than one pass.
_PARAMETER = re.compile(r'\b([a-z]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s,"]++))', re.IGNORECASE)
_SCHEME = re.compile(r"(?:^|,)\s*+digest\s", re.IGNORECASE)


class Digest:
    """The operator's login of one machine under RFC 7616 (MD5, SHA-256, their -sess forms; qop auth or none).

    `is_ready` once a challenge has been accepted; from then on every request carries its answer. A refused answer to a
    fresh challenge means a wrong password: it is forgotten, so that a look never tries a password twice.
    """

    __slots__ = ("_algorithm", "_challenge", "_count", "_credential", "_qop")

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self.forget()

    @property
    def is_ready(self) -> bool:
        return bool(self._challenge)

    def forget(self) -> None:
        """Begin anew with the next challenge."""
        self._challenge: dict[str, str] = {}
        self._algorithm = "MD5"
        self._qop: str | None = None
        self._count = 0

    def accept(self, challenges: Iterable[str]) -> bool:
        """Take the first of the server's challenges that can be answered; False where there is none, or none new."""
        for challenge in challenges:
            fields = _parameters(challenge)
            if fields is None or fields["nonce"] == self._challenge.get("nonce"):
                continue
            algorithm = fields.get("algorithm", "MD5").upper()
            offered = [word.strip().lower() for word in fields["qop"].split(",")] if fields.get("qop") else None
            if algorithm.removesuffix("-SESS") in _HASHES and (offered is None or "auth" in offered):
                self._challenge, self._algorithm = fields, algorithm
                self._qop, self._count = (None if offered is None else "auth"), 0
                return True
        return False

    def authorization(self, method: str, target: str, cnonce: str | None = None) -> str:
        """Value of the Authorization header for one request; `cnonce` is given by tests only."""
        self._count += 1
        cnonce = cnonce or secrets.token_hex(8)
        realm, nonce = self._challenge.get("realm", ""), self._challenge["nonce"]
        response = digest_response(
            self._algorithm, self._credential, realm, nonce, method, target, self._qop, self._count, cnonce
        )
        fields = {"username": self._credential.user, "realm": realm, "nonce": nonce, "uri": target}
        fields |= {"response": response}
        if "opaque" in self._challenge:
            fields["opaque"] = self._challenge["opaque"]
        if self._qop or self._algorithm.endswith("-SESS"):
            fields["cnonce"] = cnonce
        said = [f'{name}="{_quoted(value)}"' for name, value in fields.items()]
        if "algorithm" in self._challenge:
            said.append(f"algorithm={self._challenge['algorithm']}")
        if self._qop:
            said += [f"qop={self._qop}", f"nc={self._count:08x}"]
        return "Digest " + ", ".join(said)


def digest_response(
    algorithm: str,
    credential: Credential,
    realm: str,
    nonce: str,
    method: str,
    target: str,
    qop: str | None,
    count: int,
    cnonce: str,
) -> str:
    """The `response` of RFC 7616, section 3.4.1; without a qop that of RFC 2069."""
    make_hash = _HASHES[algorithm.removesuffix("-SESS")]

    def hashed(text: str) -> str:
        return make_hash(text.encode()).hexdigest()

    secret = hashed(f"{credential.user}:{realm}:{credential.password}")
    if algorithm.endswith("-SESS"):
        secret = hashed(f"{secret}:{nonce}:{cnonce}")
    asked = hashed(f"{method}:{target}")
    proof = nonce if qop is None else f"{nonce}:{count:08x}:{cnonce}:{qop}"
    return hashed(f"{secret}:{proof}:{asked}")


def _parameters(challenge: str) -> dict[str, str] | None:
    """Fields of a Digest challenge; None for another scheme, one without a nonce, or one of absurd length."""
    begin = _SCHEME.search(challenge) if len(challenge) <= MAX_CHALLENGE_CHARS else None
    if begin is None:
        return None
    fields: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(challenge, begin.end()):
        fields.setdefault(name.lower(), bare or re.sub(r"\\(.)", r"\1", quoted))
    return fields if fields.get("nonce") else None


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
