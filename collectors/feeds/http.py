"""One request to a feed, with every bound it needs; the only importer of httpx.

A feed is an outside host that may be down, slow, wrong or hostile. So: one total deadline, a byte cap on what arrives
and on what it unpacks to, no redirects, no cookies, verified TLS, no proxy unless configured, only the content types
that such an answer can have, and strict JSON of bounded depth. Whatever goes wrong is one `PollError`, sorted by what
the operator would do about it.

Nothing is repeated and nobody sleeps here. A server that says when to come back is quoted in `PollError.wait_s`, for
the schedule; one that marks its answers is asked whether they changed, and an answer that has not changed, or that a
cache has kept for a while, says how old it is.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlencode

import httpx
import orjson

from collectors.feeds.fields import printable
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_KEPT = 32
"""Answers that one client keeps for the question whether they changed; a feed has a handful of addresses."""
MAX_KEPT_BYTES = 64 * 1024
"""A longer answer is fetched anew each time: it costs less than a gateway's memory."""
MAX_WAIT_S = 24 * 3600.0
"""A server may send us away for a day at most; what says more would have to be restarted to be heard again."""
MAX_CACHE_AGE_S = 7 * 86_400.0

JSON_TYPES = ("application/json", "text/json", "text/plain", "text/javascript", "application/javascript")
TEXT_TYPES = ("text/plain", "text/csv", "application/json", "application/csv", "application/xml", "text/xml")
"""What an answer may be called; nothing at all will do as well, and `application/...+json` is JSON."""

STATUS_KINDS: Mapping[int, FaultKind] = {
    401: FaultKind.DENIED,
    403: FaultKind.DENIED,
    404: FaultKind.UNSUPPORTED,
    407: FaultKind.DENIED,
    410: FaultKind.UNSUPPORTED,
    429: FaultKind.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, and for how long it has been what this server says: since it was first received, or sat in a cache."""

    body: bytes
    age_s: float = 0.0

    def json(self) -> object:
        """The JSON value in it. Errors: PollError."""
        return parse_json(self.body)

    def text(self) -> str:
        """The text in it, UTF-8. Errors: PollError."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise PollError(FaultKind.MALFORMED, "not UTF-8") from None


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer with the marks by which its server knows it again."""

    answer: Answer
    at_s: float  # of the loop's clock
    etag: str | None
    modified: str | None

    def questions(self) -> dict[str, str]:
        marks = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: mark for name, mark in marks.items() if mark is not None}


class HttpClient:
    """The connections of one feed, kept open between looks.

    `proxy` is a URL, `ca_file` a PEM bundle of a private CA that then counts alone. `now` gives Unix time, for servers
    that say a date to come back at and not their own.
    Errors: ValueError or OSError at construction where one of them is of no use.
    """

    def __init__(
        self, *, proxy: str | None = None, ca_file: str | None = None, now: Callable[[], float] | None = None
    ) -> None:
        self._now = now
        verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self._kept: dict[str, _Kept] = {}
        self._client = httpx.AsyncClient(
            verify=verify,
            proxy=proxy,
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"Accept-Encoding": "identity", "User-Agent": "hashwatt"},
        )

    async def fetch_json(
        self, url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES, headers: Mapping[str, str] | None = None
    ) -> object:
        """The JSON value at `url`, whatever its age. Errors: PollError, and nothing else."""
        return (await self.get_json(url, deadline_s=deadline_s, max_bytes=max_bytes, headers=headers)).json()

    async def fetch_text(
        self, url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES, headers: Mapping[str, str] | None = None
    ) -> str:
        """The text at `url`, UTF-8, whatever its age. Errors: PollError, and nothing else."""
        return (await self.get_text(url, deadline_s=deadline_s, max_bytes=max_bytes, headers=headers)).text()

    async def get_json(
        self, url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer of a GET that may hold JSON. Errors: PollError, and nothing else."""
        wanted = {"Accept": "application/json", **(headers or {})}
        return await self._fetch("GET", url, deadline_s, max_bytes, wanted, None, JSON_TYPES)

    async def get_text(
        self, url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer of a GET that may hold text. Errors: PollError, and nothing else."""
        return await self._fetch("GET", url, deadline_s, max_bytes, headers or {}, None, TEXT_TYPES)

    async def post_json(
        self,
        url: str,
        question: object,
        *,
        deadline_s: float,
        max_bytes: int = MAX_BYTES,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """The JSON value that answers the JSON value `question`. Errors: PollError, and nothing else."""
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        return (await self._fetch("POST", url, deadline_s, max_bytes, sent, orjson.dumps(question), JSON_TYPES)).json()

    async def post_form(
        self, url: str, form: Mapping[str, str], *, deadline_s: float, max_bytes: int = MAX_BYTES
    ) -> object:
        """The JSON value that answers a form, as a server of tokens wants it. Errors: PollError, and nothing else."""
        sent = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        content = urlencode(form).encode()
        return (await self._fetch("POST", url, deadline_s, max_bytes, sent, content, JSON_TYPES)).json()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _fetch(
        self,
        method: str,
        url: str,
        deadline_s: float,
        max_bytes: int,
        headers: Mapping[str, str],
        content: bytes | None,
        types: tuple[str, ...],
    ) -> Answer:
        try:
            async with asyncio.timeout(deadline_s):
                return await self._ask(method, url, deadline_s, max_bytes, headers, content, types)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, f"no whole answer in {deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _as_poll_error(error) from None

    async def _ask(
        self,
        method: str,
        url: str,
        deadline_s: float,
        max_bytes: int,
        headers: Mapping[str, str],
        content: bytes | None,
        types: tuple[str, ...],
    ) -> Answer:
        kept = self._kept.get(url) if method == "GET" else None
        asked = {**headers, **(kept.questions() if kept is not None else {})}
        # half the deadline for the connection tells a dead host from a slow one; the total is the caller's
        timeout = httpx.Timeout(None, connect=deadline_s / 2)
        async with self._client.stream(method, url, headers=asked, content=content, timeout=timeout) as response:
            now_s = asyncio.get_running_loop().time()
            if response.status_code == 304 and kept is not None:
                return Answer(kept.answer.body, kept.answer.age_s + now_s - kept.at_s)
            _check_head(response, types, self._now)
            body = bytearray()
            unpack = _unpacker(response.headers.get("content-encoding", "identity"))
            async for chunk in response.aiter_raw():
                body += unpack(chunk, max_bytes + 1 - len(body))
                if len(body) > max_bytes:
                    raise PollError(FaultKind.OVERSIZE, f"more than {max_bytes} bytes")
            answer = Answer(bytes(body), _cache_age_s(response))
            if method == "GET":
                self._keep(url, answer, now_s, response)
            return answer

    def _keep(self, url: str, answer: Answer, now_s: float, response: httpx.Response) -> None:
        """Remember an answer that its server can be asked about."""
        self._kept.pop(url, None)
        marks = (response.headers.get("etag"), response.headers.get("last-modified"))
        if marks == (None, None) or len(answer.body) > MAX_KEPT_BYTES:
            return
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = _Kept(answer, now_s, *marks)


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What makes plain bytes of a chunk, and at most `room` of them, so that a bomb is cut before it goes off.

    We ask for plain answers. A server that packs them nevertheless is understood where it says gzip.
    """
    if encoding.lower() == "identity":
        return lambda chunk, room: chunk
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise PollError(FaultKind.MALFORMED, f"unasked content encoding {printable(encoding)}")
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def unpack(chunk: bytes, room: int) -> bytes:
        try:
            # what does not fit stays inside: the caller gives up at the first byte too many
            return stream.decompress(chunk, room)
        except zlib.error:
            raise PollError(FaultKind.MALFORMED, "broken gzip") from None

    return unpack


def parse_json(body: bytes) -> object:
    """A JSON value by the strict grammar (no NaN, no huge integers, no lone surrogates), at most MAX_DEPTH deep."""
    if body.lstrip()[:1] == b"<":
        raise PollError(FaultKind.MALFORMED, "a web page instead of JSON")
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PollError(FaultKind.MALFORMED, "not JSON") from None
    if _is_deeper(value, MAX_DEPTH):
        raise PollError(FaultKind.MALFORMED, "JSON nested too deep")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    """Whether `value` has more than `levels` levels of containers; no recursion, as the input may be hostile."""
    level = _containers([value])
    for _ in range(levels):
        level = [inner for container in level for inner in _containers(container)]
    return bool(level)


def _containers(value: object) -> list[object]:
    """The lists and objects directly inside `value`."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, dict | list)]


def _check_head(response: httpx.Response, types: tuple[str, ...], now: Callable[[], float] | None) -> None:
    status = response.status_code
    if response.next_request is not None:
        raise PollError(FaultKind.MALFORMED, f"redirect to {printable(response.next_request.url.host)}")
    if status != 200:
        kind = FaultKind.UNREACHABLE if status >= 500 else STATUS_KINDS.get(status, FaultKind.MALFORMED)
        wait_s = _retry_after_s(response, now) if status in (429, 503) else 0.0
        raise PollError(kind, f"HTTP {status}", wait_s=wait_s)
    kind_of_body = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_body == "text/html":
        raise PollError(FaultKind.MALFORMED, "a web page instead of " + ("JSON" if types is JSON_TYPES else "text"))
    if kind_of_body and kind_of_body not in types and not kind_of_body.endswith("+json"):
        raise PollError(FaultKind.MALFORMED, f"content type {printable(kind_of_body)}")


def _retry_after_s(response: httpx.Response, now: Callable[[], float] | None) -> float:
    """How long the server wants to be left alone, 0 if it does not say; a date counts from its own, else from now."""
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdecimal():
        return min(float(told[:12]), MAX_WAIT_S)
    try:
        until_s = parsedate_to_datetime(told).timestamp()
        told_at = response.headers.get("date")
        from_s = parsedate_to_datetime(told_at).timestamp() if told_at is not None or now is None else now()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    wait_s = until_s - from_s
    return min(max(wait_s, 0.0), MAX_WAIT_S)


def _cache_age_s(response: httpx.Response) -> float:
    """How long a cache on the way has had this answer, by its own word."""
    told = response.headers.get("age", "")
    seconds = float(told[:12]) if told.isascii() and told.isdecimal() else 0.0
    return min(seconds, MAX_CACHE_AGE_S)


def _as_poll_error(error: httpx.HTTPError | httpx.InvalidURL) -> PollError:
    """The fault behind an error of httpx, told by the operating system's error below it, not by a text."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PollError(FaultKind.IDENTITY, f"certificate not trusted: {printable(cause.verify_message)}")
        if isinstance(cause, ssl.SSLError):
            return PollError(FaultKind.MALFORMED, "TLS failed")
        if isinstance(cause, ConnectionRefusedError):
            return PollError(FaultKind.REFUSED)
        if isinstance(cause, socket.gaierror):
            is_nowhere = cause.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
            return PollError(FaultKind.UNREACHABLE, "no such host" if is_nowhere else "no name server answers")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return PollError(FaultKind.UNREACHABLE, "no connection")
    if isinstance(error, httpx.TimeoutException):
        return PollError(FaultKind.TIMEOUT)
    if isinstance(error, httpx.NetworkError):
        return PollError(FaultKind.UNREACHABLE, "connection lost")
    return PollError(FaultKind.MALFORMED, "broken HTTP")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it was raised from, outermost first, groups opened."""
    for _ in range(16):
        if error is None:
            return
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from error.exceptions
        error = error.__cause__ or error.__context__
