"""What a library may send, how long it may hold a look, and the door that native code goes through."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from collectors.miners import fence
from collectors.miners.door import Door
from collectors.miners.fence import Visit, may_pass
from fleet.ports import PollError
from fleet.readings import FaultKind

HOST = Visit("10.0.0.7", has_login=False)
KNOWN = Visit("10.0.0.7", has_login=True)


@pytest.mark.parametrize(
    ("method", "url", "header", "visit", "may"),
    [
        ("GET", "http://10.0.0.7/api/system/info", "host", HOST, True),
        ("GET", "http://10.0.0.8/api/system/info", "host", HOST, False),  # another host than the operator's
        ("GET", "http://10.0.0.7/api/system/info", "host", None, False),  # nobody is looking
        ("GET", "http://10.0.0.7/cgi-bin/stats.cgi", "authorization", HOST, False),
        ("GET", "http://10.0.0.7/cgi-bin/stats.cgi", "authorization", KNOWN, True),
        ("GET", "http://10.0.0.7:8080/summary", "token", HOST, False),
        ("POST", "http://10.0.0.7/api/v1/unlock", "host", HOST, False),
        ("POST", "http://10.0.0.7/api/v1/unlock", "host", KNOWN, True),
        ("GET", "http://10.0.0.7/user/login?username=admin&password=x", "host", HOST, False),
        ("GET", "http://10.0.0.7/user/logout", "host", KNOWN, False),  # it would throw the operator out
        ("GET", "http://10.0.0.7/cgi-bin/reboot.cgi", "authorization", KNOWN, False),  # a write at a plain GET
        ("GET", "http://10.0.0.7/cgi-bin/set_miner_conf.cgi?a=1", "authorization", KNOWN, False),
        ("GET", "http://10.0.0.7/api?do=Restart", "host", KNOWN, False),
        ("GET", "http://10.0.0.7/api/v1/autotune/presets", "host", HOST, True),
        ("GET", "http://10.0.0.7/api/v1/settings", "host", HOST, True),
        ("POST", "http://10.0.0.7/graphql", "host", HOST, True),
        ("POST", "http://10.0.0.7/cgi-bin/set_miner_conf.cgi", "host", KNOWN, False),
        ("POST", "http://10.0.0.7/user/userpanel?post=4", "host", KNOWN, True),
        ("POST", "http://10.0.0.7/user/userpanel?post=5&locate=1", "host", KNOWN, False),
        ("POST", "http://10.0.0.7/api/reboot", "authorization", KNOWN, False),
        ("POST", "http://10.0.0.7/api/summary", "authorization", KNOWN, True),
        ("PUT", "http://10.0.0.7/graphql", "host", KNOWN, False),
        ("PATCH", "http://10.0.0.7/api/system", "host", KNOWN, False),
    ],
)
def test_reads_may_pass_and_logins_of_the_operator(
    method: str, url: str, header: str, visit: Visit | None, may: bool
) -> None:
    place = urlsplit(url)
    target = place.path + (f"?{place.query}" if place.query else "")
    assert may_pass(method, place.hostname or "", target, {"accept", header}, b"", visit) is may


def test_a_graphql_question_may_pass_and_a_mutation_may_not() -> None:
    write = b'{"query": "mutation{bosminer{stop{__typename}}}"}'
    assert may_pass("POST", "10.0.0.7", "/graphql", (), b'{"query": "{bos{hostname}}"}', HOST)
    assert not may_pass("POST", "10.0.0.7", "/graphql", (), write, KNOWN)


async def test_a_call_that_swallows_its_cancellation_is_left_behind() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    deadline_at = asyncio.get_running_loop().time() + 0.1
    with pytest.raises(PollError) as caught:
        await asyncio.wait_for(fence.abandonable(stubborn(), deadline_at), 30.0)
    assert caught.value.kind is FaultKind.TIMEOUT
    left = set(fence._abandoned)
    release.set()
    await asyncio.wait(left)
    assert fence._abandoned == set()


# --- the door ------------------------------------------------------------------------------------------------------

Asked = list[tuple[str, str, str]]


@asynccontextmanager
async def pages(asked: Asked, answer: bytes) -> AsyncIterator[int]:
    """A machine that notes (request line, headers, body) and gives the same answer to everything; its port."""

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, _, headers = head.partition("\r\n")
        length = next(
            (int(h.split(":")[1]) for h in headers.split("\r\n") if h.lower().startswith("content-length")), 0
        )
        asked.append((line, headers.lower(), (await reader.readexactly(length)).decode()))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def through(url: str, request: str, body: str = "", password: str | None = None) -> tuple[int, str]:
    """Status and rest of the answer that the door gives to a request line, as a library's client would send it."""
    place = urlsplit(url)
    key = base64.b64encode(f"{place.username}:{password or place.password}".encode()).decode()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"{request}\r\nHost: x\r\nProxy-Authorization: Basic {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    answer = (await asyncio.wait_for(reader.read(), 20.0)).decode()
    writer.close()
    return int(answer.split(" ")[1]), answer.partition("\r\n")[2]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    door.close()


def visit(has_login: bool = False) -> Visit:
    return Visit("127.0.0.1", has_login, asyncio.get_running_loop().time() + 20.0)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Make: a\r\n\r\n{}"


async def test_the_door_fetches_a_page_of_a_visited_machine(door: Door) -> None:
    asked: Asked = []
    url = await door.open()
    async with pages(asked, OK) as port:
        with door.visited(visit()):
            status, rest = await through(url, f"GET http://127.0.0.1:{port}/api/system/info?x=1 HTTP/1.1")
    assert (status, rest.endswith("\r\n\r\n{}"), "x-make: a" in rest) == (200, True, True)
    assert [line for line, _, _ in asked] == ["GET /api/system/info?x=1 HTTP/1.1"]
    assert "proxy" not in asked[0][1]


async def test_nothing_leaves_for_a_machine_that_nobody_visits(door: Door) -> None:
    asked: Asked = []
    url = await door.open()
    async with pages(asked, OK) as port:
        with door.visited(visit()):
            pass
        assert (await through(url, f"GET http://127.0.0.1:{port}/ HTTP/1.1"))[0] == 403
        with door.visited(visit()):
            assert (await through(url, f"GET http://127.0.0.2:{port}/ HTTP/1.1"))[0] == 403
            assert (await through(url, f"CONNECT 127.0.0.1:{port} HTTP/1.1"))[0] == 403
            assert (await through(url, f"POST http://127.0.0.1:{port}/cgi-bin/reboot.cgi HTTP/1.1"))[0] == 403
    assert asked == []


async def test_only_who_knows_its_password_may_use_the_door(door: Door) -> None:
    asked: Asked = []
    url = await door.open()
    async with pages(asked, OK) as port:
        with door.visited(visit()):
            assert (await through(url, f"GET http://127.0.0.1:{port}/ HTTP/1.1", password="x"))[0] == 407
    assert asked == []


async def test_a_redirect_is_handed_back_and_not_followed(door: Door) -> None:
    asked: Asked = []
    url = await door.open()
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://10.99.0.1/secret\r\nContent-Length: 0\r\n\r\n"
    async with pages(asked, moved) as port:
        with door.visited(visit()):
            assert (await through(url, f"GET http://127.0.0.1:{port}/summary HTTP/1.1"))[0] == 302
            assert (await through(url, "GET http://10.99.0.1/secret HTTP/1.1"))[0] == 403
    assert len(asked) == 1


async def test_a_login_passes_only_with_the_operators_credential(door: Door) -> None:
    asked: Asked = []
    url = await door.open()
    login = json.dumps({"pw": "hall1"})
    async with pages(asked, OK) as port:
        for has_login, status in ((False, 403), (True, 200)):
            with door.visited(visit(has_login)):
                said, _ = await through(url, f"POST http://127.0.0.1:{port}/api/v1/unlock HTTP/1.1", login)
                assert said == status
    assert [(line, body) for line, _, body in asked] == [("POST /api/v1/unlock HTTP/1.1", login)]


async def test_a_page_without_end_costs_the_library_an_error(door: Door) -> None:
    url = await door.open()
    async with pages([], b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (1 << 21)) as port:
        with door.visited(visit()):
            assert (await through(url, f"GET http://127.0.0.1:{port}/ HTTP/1.1"))[0] == 502


@pytest.mark.parametrize(
    "garbage", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"G" * 70_000]
)
async def test_what_is_no_request_gets_no_answer(door: Door, garbage: bytes) -> None:
    place = urlsplit(await door.open())
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(garbage)
    try:
        assert await asyncio.wait_for(reader.read(), 20.0) == b""
    except ConnectionError:
        pass  # what it did not read breaks the connection
    writer.close()
