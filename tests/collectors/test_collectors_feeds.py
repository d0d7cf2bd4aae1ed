"""Feeds against real loopback servers: honest answers in the shapes that the public APIs print, and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import math
import re
import resource
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.feeds.catalogue import open_feed
from collectors.feeds.exchange import TICKERS, parse_ticker
from collectors.feeds.fields import number, printable, timestamp_s
from collectors.feeds.http import MAX_DEPTH, MAX_KEPT, MAX_KEPT_BYTES, HttpClient, parse_json
from collectors.feeds.luxor import parse_hashprice
from collectors.feeds.mempool import parse_difficulty, parse_price, parse_reward_stats, parse_tip_height
from collectors.feeds.tie_breakers import parse_blockchain_info
from fleet.market import InputState, MarketInput, Quote, assess, newest
from fleet.ports import PollError
from fleet.readings import FaultKind

NOW = 1_770_000_000.0
PATIENCE_S = 20.0  # what no test waits for unless something is broken

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """An HTTP/1.1 server that says, byte by byte, what the test tells it to say."""

    answers: dict[str, bytes | Answer]
    url: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    bytes_sent: int = 0
    bodies: list[bytes] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                if length := re.search(rb"content-length: ([0-9]+)", head.lower()):
                    self.bodies.append(await reader.readexactly(int(length[1])))
                path = head.split(b" ", 2)[1].decode()
                answer = self.answers.get(path, http(404, b"nothing here"))
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def drip(self, writer: asyncio.StreamWriter, piece: bytes, pause_s: float = 0.0) -> None:
        """Sends `piece` for ever; ends when the client goes."""
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            self.bytes_sent += len(piece)
            await asyncio.sleep(pause_s)


def http(status: int, body: bytes, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def http_json(value: object) -> bytes:
    return http(200, json.dumps(value).encode(), Content_Type="application/json")


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    running: list[tuple[asyncio.Server, set[asyncio.Task[None]]]] = []

    async def start(answers: Mapping[str, bytes | Answer] = {}, tls: ssl.SSLContext | None = None) -> Server:
        server = Server(dict(answers))
        talks: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talks.add(task)
            await server.talk(reader, writer)

        listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
        running.append((listener, talks))
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        return server

    yield start
    for listener, talks in running:
        listener.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(now=lambda: NOW)
    yield client
    await client.aclose()


async def fault_of(client: HttpClient, url: str, deadline_s: float = PATIENCE_S, max_bytes: int = 65_536) -> PollError:
    with pytest.raises(PollError) as caught:
        async with asyncio.timeout(2 * PATIENCE_S):
            await client.fetch_json(url, deadline_s=deadline_s, max_bytes=max_bytes)
    return caught.value


# --- one GET ---------------------------------------------------------------------------------------------------------


async def test_json_and_text_over_one_kept_connection_without_cookies(serve: Serve, client: HttpClient) -> None:
    server = await serve(
        {"/json": http(200, b'{"a": [1, 2.5, "3"]}', Set_Cookie="spy=1"), "/text": http(200, b"935140")}
    )
    assert await client.fetch_json(server.url + "/json", deadline_s=PATIENCE_S) == {"a": [1, 2.5, "3"]}
    assert await client.fetch_text(server.url + "/text", deadline_s=PATIENCE_S, headers={"X-Key": "k"}) == "935140"
    assert server.connections == 1
    first, second = (request.lower() for request in server.requests)
    assert b"accept-encoding: identity" in first
    assert b"x-key: k" in second
    assert b"cookie" not in second


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FaultKind.DENIED),
        (403, FaultKind.DENIED),
        (404, FaultKind.UNSUPPORTED),
        (410, FaultKind.UNSUPPORTED),
        (429, FaultKind.UNREACHABLE),
        (500, FaultKind.UNREACHABLE),
        (503, FaultKind.UNREACHABLE),
        (204, FaultKind.MALFORMED),
        (304, FaultKind.MALFORMED),
        (418, FaultKind.MALFORMED),
    ],
)
async def test_a_status_becomes_a_fault(serve: Serve, client: HttpClient, status: int, kind: FaultKind) -> None:
    server = await serve({"/": http(status, b"" if status in (204, 304) else b'{"usd": 1}')})
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail) == (kind, f"HTTP {status}")


async def test_a_redirect_is_named_and_not_followed(serve: Serve, client: HttpClient) -> None:
    secret = await serve({"/secret": http_json({"secret": 1})})
    server = await serve({"/": http(302, b"", Location=secret.url + "/secret")})
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail) == (FaultKind.MALFORMED, "redirect to 127.0.0.1")
    assert secret.connections == 0


@pytest.mark.parametrize("location", ["https://learn.example/api", "//learn.example", "http://learn.example:99999/"])
async def test_a_redirect_elsewhere_is_a_fault_whatever_it_says(
    serve: Serve, client: HttpClient, location: str
) -> None:
    server = await serve({"/": http(301, b"", Location=location)})
    fault = await fault_of(client, server.url + "/")
    assert fault.kind is FaultKind.MALFORMED
    assert fault.detail in ("redirect to learn.example", "broken HTTP")


async def test_a_web_page_is_not_json(serve: Serve, client: HttpClient) -> None:
    server = await serve({"/": http(200, b"\n<!doctype html><title>Just a moment</title>", Content_Type="text/html")})
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail) == (FaultKind.MALFORMED, "a web page instead of JSON")


async def test_a_packed_answer_that_nobody_asked_for_is_opened(serve: Serve, client: HttpClient) -> None:
    body = b'{"usd": "70123.45"}' + b" " * 30_000
    server = await serve({"/": http(200, gzip.compress(body), Content_Encoding="GZIP")})
    assert await client.fetch_json(server.url + "/", deadline_s=PATIENCE_S) == {"usd": "70123.45"}


async def test_a_bomb_is_cut_before_it_goes_off(serve: Serve, client: HttpClient) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 65_536 + 1000  # as bytes on the wire it is nearly permitted
    server = await serve({"/": http(200, bomb, Content_Encoding="gzip")})
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail) == (FaultKind.OVERSIZE, "more than 65536 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 * 1024


@pytest.mark.parametrize(
    ("encoding", "body", "detail"),
    [
        ("br", b"x", "unasked content encoding br"),
        ("gzip, gzip", b"x", "unasked content encoding gzip, gzip"),
        ("gzip", b"x" * 50, "broken gzip"),
        ("gzip", gzip.compress(b"[" + b"1, " * 5000 + b"1]", mtime=0)[:40], "not JSON"),
    ],
)
async def test_packing_that_we_do_not_understand_is_a_fault(
    serve: Serve, client: HttpClient, encoding: str, body: bytes, detail: str
) -> None:
    server = await serve({"/": http(200, body, Content_Encoding=encoding)})
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail) == (FaultKind.MALFORMED, detail)


@pytest.mark.parametrize(
    ("kind", "is_read"),
    [
        ("application/json; charset=utf-8", True),
        ("application/problem+json", True),
        ("text/plain", True),
        ("text/html", False),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
async def test_only_what_can_be_json_is_read_as_json(
    serve: Serve, client: HttpClient, kind: str, is_read: bool
) -> None:
    server = await serve({"/": http(200, b"1", Content_Type=kind)})
    if is_read:
        assert await client.fetch_json(server.url + "/", deadline_s=PATIENCE_S) == 1
    else:
        assert (await fault_of(client, server.url + "/")).kind is FaultKind.MALFORMED


# --- manners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 0.0),
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": "9" * 40}, 86_400.0),
        ({"Retry_After": "-5"}, 0.0),
        ({"Retry_After": "soon"}, 0.0),
        ({"Retry_After": "١٢"}, 0.0),
        ({"Retry_After": "Sun, 22 Nov 2026 12:02:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 120.0),
        ({"Retry_After": "Sun, 22 Nov 2026 11:02:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"Retry_After": "Mon, 02 Feb 2026 02:42:00 GMT"}, 120.0),  # by our clock
        ({"Retry_After": "Sun, 99 Nov 2026 12:02:00 GMT", "Date": "x"}, 0.0),
    ],
)
async def test_what_the_server_asks_for_goes_to_the_schedule(
    serve: Serve, client: HttpClient, status: int, headers: dict[str, str], wait_s: float
) -> None:
    server = await serve({"/": http(status, b"slow down", **headers)})
    fault = await fault_of(client, server.url + "/")
    assert (fault.kind, fault.detail, fault.wait_s) == (FaultKind.UNREACHABLE, f"HTTP {status}", wait_s)
    assert fault.as_fault().wait_s == wait_s


async def test_an_answer_that_did_not_change_is_not_sent_again_and_says_its_age(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve({"/": http(200, b'{"usd": 1}', ETag='W/"7"', Last_Modified="Sun, 22 Nov 2026 12:00:00 GMT")})
    first = await client.get_json(server.url + "/", deadline_s=PATIENCE_S)
    assert (first.json(), first.age_s) == ({"usd": 1}, 0.0)
    server.answers["/"] = http(304, b"")
    clock = asyncio.get_running_loop().time
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock() + 300.0)
    second = await client.get_json(server.url + "/", deadline_s=PATIENCE_S)
    assert second.json() == {"usd": 1}
    assert second.age_s == pytest.approx(300.0, abs=5.0)
    assert b"if-none-match" not in server.requests[0].lower()
    assert b'if-none-match: w/"7"' in server.requests[1].lower()
    assert b"if-modified-since: sun, 22 nov 2026 12:00:00 gmt" in server.requests[1].lower()
    server.answers["/"] = http(200, b'{"usd": 2}')
    third = await client.get_json(server.url + "/", deadline_s=PATIENCE_S)
    assert (third.json(), third.age_s) == ({"usd": 2}, 0.0)
    server.answers["/"] = http(304, b"")  # the last answer had no mark: nothing was asked that this could answer
    assert (await fault_of(client, server.url + "/")).detail == "HTTP 304"


@pytest.mark.parametrize(("age", "age_s"), [("300", 300.0), ("-1", 0.0), ("x", 0.0), ("9" * 30, 604_800.0)])
async def test_the_age_of_a_cached_answer_counts(serve: Serve, client: HttpClient, age: str, age_s: float) -> None:
    server = await serve({"/": http(200, b"935140", Age=age)})
    answer = await client.get_text(server.url + "/", deadline_s=PATIENCE_S)
    assert (answer.text(), answer.age_s) == ("935140", age_s)


async def test_what_is_kept_of_answers_is_little(serve: Serve, client: HttpClient) -> None:
    marked = {f"/{i}": http(200, b"1", ETag=f'"{i}"') for i in range(MAX_KEPT + 8)}
    server = await serve({**marked, "/long": http(200, b"1" + b" " * MAX_KEPT_BYTES, ETag='"l"')})
    for path in (*marked, "/long", "/0", "/long"):
        await client.fetch_json(server.url + path, deadline_s=PATIENCE_S)
    assert not any(b"if-none-match" in request.lower() for request in server.requests)
    await client.fetch_json(server.url + f"/{MAX_KEPT + 7}", deadline_s=PATIENCE_S)
    assert b"if-none-match" in server.requests[-1].lower()


async def test_a_question_is_posted_as_json(serve: Serve, client: HttpClient) -> None:
    server = await serve({"/": http_json({"result": 5})})
    answer = await client.post_json(
        server.url + "/", {"method": "x"}, deadline_s=PATIENCE_S, headers={"Authorization": "Basic eA=="}
    )
    assert answer == {"result": 5}
    (request,) = server.requests
    assert request.startswith(b"POST / ")
    assert server.bodies == [b'{"method":"x"}']
    assert b"content-type: application/json" in request.lower()
    assert b"authorization: basic ea==" in request.lower()


async def test_a_long_answer_is_refused(serve: Serve, client: HttpClient) -> None:
    server = await serve({"/": http(200, b'"' + b"x" * 70_000 + b'"')})
    assert (await fault_of(client, server.url + "/")).kind is FaultKind.OVERSIZE


@pytest.mark.parametrize(
    ("head", "piece", "kind"),
    [
        pytest.param(
            b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400\r\n" + b"x" * 1024 + b"\r\n",
            FaultKind.OVERSIZE,
            id="body",
        ),
        pytest.param(b"HTTP/1.1 200 x\r\n\r\n", b"x" * 1024, FaultKind.OVERSIZE, id="body to the end"),
        pytest.param(b"HTTP/1.1 200 x\r\n", b"X: " + b"x" * 1024 + b"\r\n", FaultKind.MALFORMED, id="head"),
    ],
)
async def test_an_endless_answer_is_cut(
    serve: Serve, client: HttpClient, head: bytes, piece: bytes, kind: FaultKind
) -> None:
    server = await serve()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await server.drip(writer, piece)

    server.answers["/"] = endless
    assert (await fault_of(client, server.url + "/")).kind is kind
    assert server.bytes_sent < 16 * 1024 * 1024  # the socket buffers are the rest


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 x\r\nContent-Length: 60000\r\n\r\n"], ids=["silent", "dripping"])
async def test_a_slow_answer_ends_at_the_deadline(serve: Serve, client: HttpClient, head: bytes) -> None:
    server = await serve()

    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await server.drip(writer, b" " if head else b"", pause_s=0.02)

    server.answers["/"] = slow
    fault = await fault_of(client, server.url + "/", deadline_s=0.3)
    assert (fault.kind, fault.detail) == (FaultKind.TIMEOUT, "no whole answer in 0.3 s")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\x00\xff\x13 what\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 x\r\nContent-Length: -5\r\n\r\n{}", id="negative length"),
        pytest.param(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", id="chunk size"),
    ],
)
async def test_broken_http_is_malformed(serve: Serve, client: HttpClient, answer: bytes) -> None:
    server = await serve({"/": answer})
    assert (await fault_of(client, server.url + "/")).kind is FaultKind.MALFORMED


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"], ids=["none", "half"])
async def test_an_answer_that_breaks_off_is_malformed(serve: Serve, client: HttpClient, answer: bytes) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await serve({"/": hang_up})
    assert (await fault_of(client, server.url + "/")).kind is FaultKind.MALFORMED


async def test_nobody_there_is_refused_and_no_way_is_unreachable(client: HttpClient, free_port: int) -> None:
    assert (await fault_of(client, f"http://127.0.0.1:{free_port}/")).kind is FaultKind.REFUSED
    # the broadcast address is refused by the system itself, no packet leaves
    assert (await fault_of(client, "http://255.255.255.255/")).kind is FaultKind.UNREACHABLE


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (socket.EAI_NONAME, "no such host"),
        (socket.EAI_NODATA, "no such host"),
        (socket.EAI_AGAIN, "no name server answers"),
    ],
)
async def test_a_name_that_leads_nowhere_is_told_from_a_host_that_is_away(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    async def look_up(*_: object, **__: object) -> object:
        raise socket.gaierror(code, "as the system says it")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    error = await fault_of(client, "http://api.coinbse.example/")
    assert (error.kind, error.detail) == (FaultKind.UNREACHABLE, words)


async def test_text_that_is_not_utf8_is_malformed(serve: Serve, client: HttpClient) -> None:
    server = await serve({"/": http(200, b"\xff\xfe")})
    with pytest.raises(PollError) as caught:
        await client.fetch_text(server.url + "/", deadline_s=PATIENCE_S)
    assert caught.value.kind is FaultKind.MALFORMED


async def test_a_proxy_counts_only_where_it_is_configured(
    serve: Serve, client: HttpClient, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve({"/": http_json(1)})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    fresh = HttpClient()
    assert await fresh.fetch_json(server.url + "/", deadline_s=PATIENCE_S) == 1
    await fresh.aclose()

    proxy = await serve({"http://feed.example/": http_json(2)})
    proxied = HttpClient(proxy=proxy.url)
    assert await proxied.fetch_json("http://feed.example/", deadline_s=PATIENCE_S) == 2
    await proxied.aclose()


@pytest.fixture
def own_certificate(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=feed"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.mark.peer("openssl")
async def test_a_certificate_counts_only_from_a_trusted_authority(
    serve: Serve, client: HttpClient, own_certificate: tuple[Path, Path]
) -> None:
    certificate, key = own_certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    server = await serve({"/": http_json(1)}, tls)

    fault = await fault_of(client, server.url + "/")
    assert fault.kind is FaultKind.IDENTITY
    assert fault.detail.startswith("certificate not trusted: ")
    assert server.requests == []

    trusting = HttpClient(ca_file=str(certificate))
    assert await trusting.fetch_json(server.url + "/", deadline_s=PATIENCE_S) == 1
    await trusting.aclose()


async def test_plain_http_where_tls_is_asked_for_is_malformed(client: HttpClient) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.write(http(400, b"")), "127.0.0.1", 0)
    async with listener:
        fault = await fault_of(client, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
    assert (fault.kind, fault.detail) == (FaultKind.MALFORMED, "TLS failed")


# --- JSON and fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b'{"a":1e999}',
        b"9" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"\x1f\x8b\x08\x00",
    ],
    ids=range(12),
)
def test_hostile_json_is_malformed(body: bytes) -> None:
    with pytest.raises(PollError) as caught:
        parse_json(body)
    assert caught.value.kind is FaultKind.MALFORMED
    assert len(caught.value.detail) < 100


def test_json_of_the_permitted_depth_is_read() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("raw", "value"), [(1, 1.0), (2.5, 2.5), ("70123.45", 70123.45), ("-1", -1.0), ("63811748254", 63811748254.0)]
)
def test_numbers_are_read_from_numbers_and_digits(raw: object, value: float) -> None:
    assert number(raw, "x") == value


@pytest.mark.parametrize(
    "raw",
    [
        True,
        False,
        None,
        "",
        " 1",
        "1 ",
        "1e5",
        "nan",
        "inf",
        "0x10",
        "1_000",
        "1,000",
        "١",
        "9" * 21,
        [],
        {},
        math.nan,
        math.inf,
        "<",
    ],
)
def test_what_is_not_a_number_is_malformed(raw: object) -> None:
    with pytest.raises(PollError, match="x is not a number"):
        number(raw, "x")


@pytest.mark.parametrize("raw", [1_769_999_000, 1_769_999_000_000, "1769999000", 1_769_999_000.0])
def test_a_time_is_read_from_seconds_and_milliseconds(raw: object) -> None:
    assert timestamp_s(raw, "time", NOW) == 1_769_999_000.0


@pytest.mark.parametrize("raw", [0, -1, 1, NOW + 61, (NOW + 61) * 1000, 1e30, True, None, "2026-02-02"])
def test_a_time_that_cannot_be_is_malformed(raw: object) -> None:
    with pytest.raises(PollError):
        timestamp_s(raw, "time", NOW)


@given(st.text(max_size=300))
def test_text_of_strangers_is_printable(text: str) -> None:
    shown = printable(text)
    assert len(shown) <= 80
    assert shown.isascii()
    assert shown.isprintable()


# --- mempool ---------------------------------------------------------------------------------------------------------

D = 141668107417558.25
REWARD_STATS = {
    "startBlock": 736556,
    "endBlock": 736655,
    "totalReward": "63811748254",
    "totalFee": "1311748254",
    "totalTx": "164216",
}
HASHRATE = {
    "hashrates": [{"timestamp": 1769904000, "avgHashrate": 9.3e20}],
    "difficulty": [{"time": 1769000000, "height": 933408, "difficulty": D, "adjustment": 0.9672}],
    "currentHashrate": 9.345e20,
    "currentDifficulty": D,
}
PRICES = {"time": 1769999000, "USD": 70150, "EUR": 59000, "GBP": -1, "JPY": 10900000}
MEMPOOL = {
    "/api/blocks/tip/height": http(200, b"935140", Content_Type="text/plain"),
    "/api/v1/mining/reward-stats/144": http_json(REWARD_STATS),
    "/api/v1/mining/hashrate/3d": http_json(HASHRATE),
    "/api/v1/prices": http_json(PRICES),
}


async def read(kind: str, server: Server, deadline_s: float = PATIENCE_S) -> tuple[Quote, ...]:
    feed = open_feed(kind, {"base_url": server.url + "/"}, deadline_s, lambda: NOW)
    try:
        return await feed.read()
    finally:
        await feed.aclose()


async def test_mempool_gives_four_quotes(serve: Serve) -> None:
    quotes = await read("mempool", await serve(MEMPOOL))
    assert {each.input: (each.value, each.as_of_s, each.soft_s) for each in quotes} == {
        MarketInput.HEIGHT: (935140.0, NOW, 2700.0),
        MarketInput.BLOCK_FEES_BTC: (pytest.approx(0.1311748254), NOW, 2700.0),  # 13.11748254 BTC in 100 blocks
        MarketInput.DIFFICULTY: (D, NOW, 2700.0),
        MarketInput.BTC_USD: (70150.0, 1769999000.0, 3600.0),
    }
    assert {each.source for each in quotes} == {"mempool"}


async def test_hashprice_is_made_of_the_difficulty_and_not_of_the_hashrate_beside_it(serve: Serve) -> None:
    quotes = await read("mempool", await serve(MEMPOOL))
    valuation = assess(newest(quotes), 0.06, "flat", NOW)
    # by hand: 2.0116567611694e10 / 141668107417558.25 * (3.125 + 0.1311748254) * 70150 = 32.4360;
    # currentHashrate * 600 / 2^32 in the place of the difficulty would say 35.2
    assert valuation.hashprice_usd_ph_day == pytest.approx(32.4360, abs=1e-3)
    assert valuation.states[MarketInput.BTC_USD] is InputState.STALE_SOFT  # never the only price source


@pytest.mark.parametrize("path", MEMPOOL)
@pytest.mark.parametrize("answer", [http(503, b""), http(429, b"slow down"), http(200, b"<html>"), http(200, b"-1")])
async def test_one_failing_endpoint_loses_only_its_quote(serve: Serve, path: str, answer: bytes) -> None:
    inputs = dict(zip(MEMPOOL, ("height", "block_fees_btc", "difficulty", "btc_usd"), strict=True))
    quotes = await read("mempool", await serve({**MEMPOOL, path: answer}))
    assert {each.input.value for each in quotes} == set(inputs.values()) - {inputs[path]}


async def test_a_mempool_that_fails_everywhere_is_a_fault(serve: Serve) -> None:
    with pytest.raises(PollError) as caught:
        await read("mempool", await serve(dict.fromkeys(MEMPOOL, http(403, b""))))
    assert caught.value.kind is FaultKind.DENIED


async def test_a_hanging_endpoint_does_not_cost_the_others(serve: Serve) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    quotes = await read("mempool", await serve({**MEMPOOL, "/api/v1/prices": hang}), deadline_s=2.0)
    assert len(quotes) == 3


@pytest.mark.parametrize("text", ["", "-1", "0", "93514.5", "<html>", "nan", "93514000", '{"a":1}', "9" * 30])
def test_a_height_that_cannot_be_is_malformed(text: str) -> None:
    with pytest.raises(PollError):
        parse_tip_height(text, "mempool", NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"totalFee": "131174825400"},  # x100
        {"totalFee": "-1311748254"},
        {"totalFee": 13.11},  # BTC instead of sat: the subsidy does not come out
        {"totalReward": "638.11"},
        {"totalReward": "49049398603"},  # blocks are missing in the sum
        {"totalFee": None},
        {"totalFee": True},
        {"totalFee": "NaN"},
        {"startBlock": 736656},
        {"startBlock": 0},
        {"startBlock": -5},
        {"endBlock": "x"},
    ],
)
def test_reward_stats_that_cannot_be_are_malformed(change: dict[str, object]) -> None:
    with pytest.raises(PollError):
        parse_reward_stats({**REWARD_STATS, **change}, "mempool", NOW)


def test_fees_are_the_same_across_a_halving() -> None:
    # 72 blocks of 6.25 and 72 of 3.125 BTC with 0.5 BTC of fees each
    stats = {"startBlock": 839_928, "endBlock": 840_071, "totalReward": "74700000000", "totalFee": "7200000000"}
    assert parse_reward_stats(stats, "mempool", NOW).value == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0, -D, D * 100, D / 100, 9.345e20, "", None, True, "nan"])
def test_a_difficulty_that_cannot_be_is_malformed(value: object) -> None:
    with pytest.raises(PollError):
        parse_difficulty({**HASHRATE, "currentDifficulty": value}, "mempool", NOW)


def test_a_difficulty_without_an_estimate_beside_it_is_read() -> None:
    assert parse_difficulty({**HASHRATE, "currentHashrate": 0}, "mempool", NOW).value == D


@pytest.mark.parametrize(
    "change",
    [
        {"USD": -1},
        {"USD": 0},
        {"USD": None},
        {"USD": True},
        {"USD": 70150 * 1000},
        {"USD": 701.5},
        {"time": 0},
        {"time": NOW + 3600},
        {"time": "yesterday"},
    ],
)
def test_a_mempool_price_that_cannot_be_is_malformed(change: dict[str, object]) -> None:
    with pytest.raises(PollError):
        parse_price({**PRICES, **change}, "mempool", NOW)


# --- exchanges -------------------------------------------------------------------------------------------------------

COINBASE = {"data": {"amount": "70123.455", "base": "BTC", "currency": "USD"}}
KRAKEN = {
    "error": [],
    "result": {"XXBTZUSD": {"a": ["70100.1", "1", "1.0"], "b": ["70100.0", "1", "1.0"], "c": ["70099.9", "0.01"]}},
}
BITSTAMP = {"timestamp": "1769999990", "last": "70110", "bid": "70109", "ask": "70111", "volume": "1203.1"}
GEMINI = {"bid": "70090.10", "ask": "70090.20", "last": "70095.25", "volume": {"BTC": "1", "timestamp": 1769999940000}}
BITFINEX = {"mid": "70100.5", "bid": "70100", "ask": "70101", "last_price": "70105.0", "timestamp": "1769999995.34"}
EXCHANGES: dict[str, tuple[str, dict[str, object], float, float]] = {
    "coinbase": ("/v2/prices/BTC-USD/spot", COINBASE, 70123.455, NOW),
    "kraken": ("/0/public/Ticker?pair=XBTUSD", KRAKEN, 70099.9, NOW),
    "bitstamp": ("/api/v2/ticker/btcusd/", BITSTAMP, 70110.0, 1_769_999_990.0),
    "gemini": ("/v1/pubticker/BTCUSD", GEMINI, 70095.25, 1_769_999_940.0),
    "bitfinex": ("/v1/pubticker/BTCUSD", BITFINEX, 70105.0, 1_769_999_995.34),
}


def test_every_exchange_is_tested() -> None:
    assert set(EXCHANGES) == set(TICKERS)


@pytest.mark.parametrize("kind", EXCHANGES)
async def test_an_exchange_gives_its_price_as_of_its_own_time_or_of_the_receipt(serve: Serve, kind: str) -> None:
    path, body, price, as_of_s = EXCHANGES[kind]
    quotes = await read(kind, await serve({path: http_json(body)}))
    assert quotes == (Quote(MarketInput.BTC_USD, kind, price, as_of_s, 120.0, 900.0),)


async def test_a_price_out_of_a_cache_is_as_old_as_the_cache_says(serve: Serve) -> None:
    path, body, *_ = EXCHANGES["coinbase"]
    (quote,) = await read("coinbase", await serve({path: http(200, json.dumps(body).encode(), Age="300")}))
    assert quote.as_of_s == NOW - 300


@pytest.mark.parametrize("kind", EXCHANGES)
@pytest.mark.parametrize("factor", [1000, -1, 0, 0.01])
async def test_an_exchange_out_of_bounds_is_a_fault(serve: Serve, kind: str, factor: float) -> None:
    path, body, price, _ = EXCHANGES[kind]
    text = json.dumps(body)
    assert str(price).removesuffix(".0") in text
    text = text.replace(str(price).removesuffix(".0"), f"{price * factor:.3f}", 1).replace("}.0", "}")
    with pytest.raises(PollError, match=r"btc_usd .* out of bounds|is not a number"):
        await read(kind, await serve({path: http(200, text.encode())}))


def place(body: object, path: tuple[str | int, ...], value: object) -> object:
    """`body` with `value` at `path`."""
    if not path:
        return value
    if isinstance(body, list):
        return [place(item, path[1:], value) if i == path[0] else item for i, item in enumerate(body)]
    assert isinstance(body, dict)
    return {key: place(item, path[1:], value) if key == path[0] else item for key, item in body.items()}


@pytest.mark.parametrize("kind", EXCHANGES)
@pytest.mark.parametrize("value", ["", "x", "nan", "7e4", True, None, [], {}, "-1", -1, 0, "70,000", 701.23, 7.0e8])
def test_a_price_that_cannot_be_is_malformed(kind: str, value: object) -> None:
    with pytest.raises(PollError) as caught:
        parse_ticker(TICKERS[kind], place(EXCHANGES[kind][1], TICKERS[kind].price, value), kind, NOW)
    assert caught.value.kind is FaultKind.MALFORMED


@pytest.mark.parametrize("kind", [kind for kind, ticker in TICKERS.items() if ticker.as_of])
@pytest.mark.parametrize(
    ("value", "as_of_s"),
    [(1_769_999_000, 1_769_999_000.0), ("1769999000000", 1_769_999_000.0), (NOW + 61, None), (0, None), ("x", None)],
)
def test_the_time_of_a_price_is_read_in_seconds_and_milliseconds_or_refused(
    kind: str, value: object, as_of_s: float | None
) -> None:
    body = place(EXCHANGES[kind][1], TICKERS[kind].as_of, value)
    if as_of_s is None:
        with pytest.raises(PollError):
            parse_ticker(TICKERS[kind], body, kind, NOW)
    else:
        assert parse_ticker(TICKERS[kind], body, kind, NOW).as_of_s == as_of_s


async def test_of_two_exchanges_one_a_hundredfold_there_is_no_price(serve: Serve) -> None:
    wrong = {"data": {**COINBASE["data"], "amount": "7012345.5"}}
    quotes = [
        *await read("coinbase", await serve({EXCHANGES["coinbase"][0]: http_json(wrong)})),
        *await read("kraken", await serve({EXCHANGES["kraken"][0]: http_json(KRAKEN)})),
    ]
    valuation = assess(newest(quotes), 0.06, "flat", NOW)
    assert valuation.states[MarketInput.BTC_USD] is InputState.CONFLICT
    assert math.isnan(valuation.btc_usd)


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"amount": "70000", "base": "ETH", "currency": "USD"}},
        {"data": {"amount": "70000", "base": "BTC", "currency": "EUR"}},
        {"data": {"base": "BTC", "currency": "USD"}},
        {"data": []},
        {"errors": [{"id": "not_found"}]},
        None,
    ],
)
def test_a_coinbase_answer_without_a_price_is_malformed(body: object) -> None:
    with pytest.raises(PollError):
        parse_ticker(TICKERS["coinbase"], body, "coinbase", NOW)


def test_an_error_of_kraken_comes_with_status_200() -> None:
    with pytest.raises(PollError) as caught:
        parse_ticker(TICKERS["kraken"], {"error": ["EGeneral:Too many requests\x1b[31m"], "result": {}}, "kraken", NOW)
    assert caught.value.kind is FaultKind.UNREACHABLE
    assert "Too many requests" in caught.value.detail
    assert caught.value.detail.isprintable()


# --- tie-breakers and the cross-check --------------------------------------------------------------------------------

BLOCKCHAIN_INFO = {
    "timestamp": 1769999900000,
    "market_price_usd": 70080.4,
    "hash_rate": 934_500_000_000.0,  # GH/s
    "difficulty": 141668107417558,
    "nextretarget": 935424,
    "total_fees_btc": -315000000000,  # seen so: nobody may read it
    "miners_revenue_usd": 0,
}
BRAIINS = {
    "/v1.0/difficulty-stats": {
        "difficulty": D,
        "block_epoch": 463,
        "epoch_block_time": 641,
        "estimated_adjustment": 0.01,
    },
    "/v1.0/price-stats": {"price": 70120.5, "percent_change_24h": -1.2, "timestamp": 1769999800},
}
LUXOR = {
    "data": {
        "getHashprice": {
            "nodes": [
                {"timestamp": "2026-02-02T02:40:00Z", "usdHashprice": 0.03244},
                {"timestamp": "2026-02-02T02:35:00+00:00", "usdHashprice": 0.031},
            ]
        }
    }
}


async def test_blockchain_info_gives_difficulty_with_its_epoch_and_price_and_no_fees(serve: Serve) -> None:
    quotes = await read("blockchain_info", await serve({"/stats": http_json(BLOCKCHAIN_INFO)}))
    assert [(each.input, each.value, each.as_of_s, each.at_height) for each in quotes] == [
        (MarketInput.DIFFICULTY, 141668107417558.0, 1_769_999_900.0, 935_423),
        (MarketInput.BTC_USD, 70080.4, 1_769_999_900.0, None),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"difficulty": 0},
        {"difficulty": 141668107417558 * 100},
        {"hash_rate": 934.5},  # EH/s
        {"hash_rate": 0},
        {"market_price_usd": 0},
        {"market_price_usd": -1},
        {"timestamp": 1769999900000 * 1000},
        {"nextretarget": None},
        {"nextretarget": 0},
    ],
)
def test_a_page_of_blockchain_info_that_cannot_be_is_malformed(change: dict[str, object]) -> None:
    with pytest.raises(PollError):
        parse_blockchain_info({**BLOCKCHAIN_INFO, **change}, "blockchain_info", NOW)


async def test_braiins_gives_difficulty_and_price_each_lost_alone(serve: Serve) -> None:
    pages = {path: http_json(body) for path, body in BRAIINS.items()}
    quotes = await read("braiins", await serve(pages))
    assert [(each.input, each.value, each.as_of_s) for each in quotes] == [
        (MarketInput.DIFFICULTY, D, NOW),
        (MarketInput.BTC_USD, 70120.5, 1_769_999_800.0),
    ]
    for path in pages:
        assert len(await read("braiins", await serve({**pages, path: http(500, b"")}))) == 1
    with pytest.raises(PollError, match="HTTP 404"):
        await read("braiins", await serve({}))


async def test_where_braiins_has_moved_to_is_told_and_not_followed(serve: Serve) -> None:
    moved = http(302, b"", Location="https://learn.braiins.example/api/v1.0/x")
    with pytest.raises(PollError, match=r"redirect to learn\.braiins\.example"):
        await read("braiins", await serve(dict.fromkeys(BRAIINS, moved)))


async def test_one_page_that_asks_for_rest_gets_it_for_all(serve: Serve) -> None:
    pages = {path: http_json(body) for path, body in BRAIINS.items()}
    server = await serve({**pages, "/v1.0/price-stats": http(429, b"", Retry_After="77")})
    with pytest.raises(PollError) as caught:
        await read("braiins", server)
    assert caught.value.wait_s == 77.0


async def read_luxor(server: Server, key: str = "key-of-the-operator") -> tuple[Quote, ...]:
    feed = open_feed("luxor", {"base_url": server.url, "key": key}, PATIENCE_S, lambda: NOW)
    try:
        return await feed.read()
    finally:
        await feed.aclose()


async def test_luxor_gives_its_newest_hashprice_and_gets_the_key_in_a_header(serve: Serve) -> None:
    server = await serve({"/graphql": http_json(LUXOR)})
    (quote,) = await read_luxor(server)
    assert (quote.input, quote.source) == (MarketInput.PUBLISHED_USD_PH_DAY, "luxor")
    assert (quote.value, quote.as_of_s) == (pytest.approx(32.44), 1_770_000_000.0)
    assert b"x-hi-api-key: key-of-the-operator" in server.requests[0].lower()
    assert json.loads(server.bodies[0])["variables"] == {"inputInterval": "_1_DAY", "first": 300}


def test_a_hashprice_per_ph_is_taken_as_it_is() -> None:
    body = json.loads(json.dumps(LUXOR).replace("0.03244", "32.44"))
    assert parse_hashprice(body, "luxor", NOW).value == 32.44


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.03244", "0.0000003"),  # BTC
        ("0.03244", "-1"),
        ("0.03244", '"x"'),
        ("0.03244", "0"),
        ("2026-02-02T02:40:00Z", "2026-02-02T02:40:00"),  # of which zone?
        ("2026-02-02T02:40:00Z", "2026-02-03T02:40:00Z"),  # tomorrow
        ("2026-02-02T02:40:00Z", "2026-99-02T02:40:00Z"),
        ('"nodes"', '"edges"'),
    ],
)
def test_a_published_hashprice_that_cannot_be_is_malformed(old: str, new: str) -> None:
    text = json.dumps(LUXOR)
    assert old in text
    with pytest.raises(PollError) as caught:
        parse_hashprice(json.loads(text.replace(old, new)), "luxor", NOW)
    assert caught.value.kind is FaultKind.MALFORMED


async def test_a_refused_key_is_told_without_the_key(serve: Serve) -> None:
    body = {"errors": [{"message": "invalid api key key-of-the-operator"}], "data": None}
    with pytest.raises(PollError) as caught:
        await read_luxor(await serve({"/graphql": http_json(body)}))
    assert caught.value.kind is FaultKind.DENIED
    assert "invalid api key" in caught.value.detail
    assert "operator" not in str(caught.value)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PARSERS: tuple[tuple[Callable[[object], object], object], ...] = (
    (lambda body: parse_reward_stats(body, "m", NOW), REWARD_STATS),
    (lambda body: parse_difficulty(body, "m", NOW), HASHRATE),
    (lambda body: parse_price(body, "m", NOW), PRICES),
    *(
        (lambda body, kind=kind: parse_ticker(TICKERS[kind], body, kind, NOW), told)  # type: ignore[misc]
        for kind, (_, told, *_) in EXCHANGES.items()
    ),
    (lambda body: parse_blockchain_info(body, "b", NOW), BLOCKCHAIN_INFO),
    (lambda body: parse_hashprice(body, "l", NOW), LUXOR),
)


def mutations(body: object, other: object) -> list[object]:
    """`body` with each of its values in turn replaced by `other`, and `other` itself."""
    if isinstance(body, list):
        return [
            other,
            *([*body[:i], one, *body[i + 1 :]] for i, item in enumerate(body) for one in mutations(item, other)),
        ]
    if not isinstance(body, dict):
        return [other]
    inside = itertools.chain.from_iterable(
        ({**body, key: changed} for changed in mutations(value, other)) for key, value in body.items()
    )
    return [other, *inside]


@given(ANY_JSON)
def test_any_json_anywhere_is_a_number_or_a_fault(other: object) -> None:
    for parse, body in PARSERS:
        for mutated in mutations(body, other):
            try:
                parse(mutated)
            except PollError as fault:
                assert fault.detail.isprintable()  # noqa: PT017 - either outcome is right
                assert len(fault.detail) < 200  # noqa: PT017


# --- fixed values and the catalogue ----------------------------------------------------------------------------------


async def test_fixed_values_hold_from_the_start_for_ever() -> None:
    feed = open_feed("fixed", {"btc_usd": 70000.0, "height": 935140}, 1.0, lambda: NOW)
    assert await feed.read() == (
        Quote(MarketInput.BTC_USD, "fixed", 70000.0, NOW, math.inf, math.inf),
        Quote(MarketInput.HEIGHT, "fixed", 935140.0, NOW, math.inf, math.inf),
    )
    await feed.aclose()


async def test_fixed_values_lapse_where_the_operator_says_so() -> None:
    options = {"btc_usd": 70000.0, "as_of_s": NOW - 3600, "good_for_s": 7200.0}
    feed = open_feed("fixed", options, 1.0, lambda: NOW)
    assert await feed.read() == (Quote(MarketInput.BTC_USD, "fixed", 70000.0, NOW - 3600, 7200.0, 7200.0),)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bitcoin", {}, "unknown feed 'bitcoin'"),
        ("mempool", {"url": "x"}, "unknown option 'url'"),
        ("mempool", {"base_url": 5.0}, "base_url is not a text"),
        ("kraken", {"base_url": "ftp://x"}, "base_url is not an http"),
        ("kraken", {"base_url": "http://"}, "base_url is not an http"),
        ("kraken", {"base_url": "https://x/?a=1"}, "base_url is not an http"),
        ("coinbase", {"proxy": "socks5://x"}, "proxy is not an http"),
        ("fixed", {"price": 1.0}, "unknown option 'price'"),
        ("fixed", {"btc_usd": 0.0}, "btc_usd 0 is not between 1000 and 1e"),
        ("fixed", {"btc_usd": "70000"}, "btc_usd is not a number"),
        ("fixed", {"btc_usd": True}, "btc_usd is not a number"),
        ("fixed", {"btc_usd": math.nan}, "btc_usd is not a number"),
        ("fixed", {"btc_usd": 10**400}, "btc_usd is not a number"),
        ("fixed", {"btc_usd": 70000.0, "good_for_s": 60.0}, "good_for_s needs as_of_s"),
    ],
)
def test_options_that_cannot_be_are_refused(kind: str, options: dict[str, str | float | bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_feed(kind, options, 1.0, lambda: NOW)
