"""One GET to a feed, with every bound it needs; the only importer of httpx.

A feed is an outside host that may be down, slow, wrong or hostile. So: one total deadline, a byte cap on what arrives
raw, no decompression, no redirects, no cookies, verified TLS, no proxy unless configured, and strict JSON of bounded
depth. Whatever goes wrong is one `PollError`, sorted by what the operator would do about it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import orjson

from collectors.feeds.fields import printable
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64

STATUS_KINDS: Mapping[int, FaultKind] = {
    401: FaultKind.DENIED,
    403: FaultKind.DENIED,
    404: FaultKind.UNSUPPORTED,
    407: FaultKind.DENIED,
    410: FaultKind.UNSUPPORTED,
    429: FaultKind.UNREACHABLE,
}


class HttpClient:
    """The connections of one feed, kept open between looks.

    `proxy` is a URL, `ca_file` a PEM bundle of a private CA that then counts alone.
    Errors: ValueError or OSError at construction where one of them is of no use.
    """

    def __init__(self, *, proxy: str | None = None, ca_file: str | None = None) -> None:
        verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
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
        """The JSON value at `url`. Errors: PollError, and nothing else."""
        return parse_json(
            await self._fetch(url, deadline_s, max_bytes, {"Accept": "application/json", **(headers or {})})
        )

    async def fetch_text(
        self, url: str, *, deadline_s: float, max_bytes: int = MAX_BYTES, headers: Mapping[str, str] | None = None
    ) -> str:
        """The text at `url`, UTF-8. Errors: PollError, and nothing else."""
        body = await self._fetch(url, deadline_s, max_bytes, headers or {})
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise PollError(FaultKind.MALFORMED, "not UTF-8") from None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _fetch(self, url: str, deadline_s: float, max_bytes: int, headers: Mapping[str, str]) -> bytes:
        try:
            async with asyncio.timeout(deadline_s):
                return await self._get(url, deadline_s, max_bytes, headers)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, f"no whole answer in {deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _as_poll_error(error) from None

    async def _get(self, url: str, deadline_s: float, max_bytes: int, headers: Mapping[str, str]) -> bytes:
        # half the deadline for the connection tells a dead host from a slow one; the total is the caller's
        timeout = httpx.Timeout(None, connect=deadline_s / 2)
        async with self._client.stream("GET", url, headers=dict(headers), timeout=timeout) as response:
            _check_head(response)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise PollError(FaultKind.OVERSIZE, f"more than {max_bytes} bytes")
            return bytes(body)


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


def _check_head(response: httpx.Response) -> None:
    status = response.status_code
    if response.next_request is not None:
        raise PollError(FaultKind.MALFORMED, f"redirect to {printable(response.next_request.url.host)}")
    if status != 200:
        kind = FaultKind.UNREACHABLE if status >= 500 else STATUS_KINDS.get(status, FaultKind.MALFORMED)
        raise PollError(kind, f"HTTP {status}")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise PollError(FaultKind.MALFORMED, f"unasked content encoding {printable(encoding)}")


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
