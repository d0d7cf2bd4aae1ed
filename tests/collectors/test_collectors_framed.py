"""Replies behind a length: cut anywhere they are the same, and a length that lies costs neither memory nor time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.miners.framed import MAX_PAYLOAD_BYTES, Unframer, exchange_framed, frame
from fleet.ports import PollError
from fleet.readings import FaultKind

REQUEST = b'{"cmd":"get.device.info"}'
PAYLOAD = b'{"code":0,"msg":{"network":{"mac":"CE:02:01:00:8C:36"}}}'
FRAMED = b"\x38\x00\x00\x00" + PAYLOAD  # 56 bytes of JSON
GENEROUS_S = 30.0
BRIEF_S = 0.2

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# --- bytes alone ---


def test_a_request_goes_out_behind_its_length_in_little_endian() -> None:
    assert frame(REQUEST) == b"\x19\x00\x00\x00" + REQUEST


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 310), max_size=8), st.binary(max_size=8))
def test_the_payload_is_the_same_wherever_the_chunks_end(payload: bytes, cuts: list[int], junk: bytes) -> None:
    stream = struct.pack("<I", len(payload)) + payload + junk
    unframer, borders = Unframer(), [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    fed = [unframer.feed(stream[a:b]) for a, b in pairwise(borders)]
    assert fed[-1] is True
    assert unframer.payload == payload


@pytest.mark.parametrize("length", [MAX_PAYLOAD_BYTES + 1, 2**31, 2**32 - 1])
def test_a_huge_length_is_refused_before_anything_is_kept_for_it(length: int) -> None:
    unframer = Unframer()
    with pytest.raises(PollError) as error:
        unframer.feed(struct.pack("<I", length) + PAYLOAD)
    assert error.value.kind is FaultKind.OVERSIZE


def test_a_length_of_zero_is_no_reply() -> None:
    with pytest.raises(PollError) as error:
        Unframer().feed(b"\0\0\0\0")
    assert error.value.kind is FaultKind.MALFORMED


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, len(FRAMED) - 1])
def test_a_stream_that_ends_too_early_is_malformed(cut: int) -> None:
    unframer = Unframer()
    assert unframer.feed(FRAMED[:cut]) is False
    with pytest.raises(PollError) as error:
        _ = unframer.payload
    assert error.value.kind is FaultKind.MALFORMED


def test_the_largest_reply_still_fits() -> None:
    unframer = Unframer()
    assert unframer.feed(struct.pack("<I", MAX_PAYLOAD_BYTES) + b" " * (MAX_PAYLOAD_BYTES + 5))
    assert len(unframer.payload) == MAX_PAYLOAD_BYTES


# --- over a socket ---


@asynccontextmanager
async def machine(script: Script) -> AsyncIterator[tuple[int, list[bytes], asyncio.Event]]:
    """A server on 127.0.0.1 that reads one framed request and then does as the script says."""
    requests: list[bytes] = []
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readexactly(4 + len(REQUEST)))
            await script(reader, writer)
            await reader.read()  # until the other side gives up
        except ConnectionError:
            pass
        finally:
            writer.close()
            closed.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], requests, closed
    finally:
        server.close()


def sends(data: bytes, *, and_ends: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if and_ends:
            writer.write_eof()

    return script


async def dribbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for i in range(len(FRAMED)):
        writer.write(FRAMED[i : i + 1])
        await writer.drain()
        await asyncio.sleep(0)


async def dribbles_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(struct.pack("<I", MAX_PAYLOAD_BYTES))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(BRIEF_S / 10)


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, never answers."""


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ask(port: int, wait_s: float = GENEROUS_S) -> bytes:
    return await exchange_framed("127.0.0.1", port, REQUEST, asyncio.get_running_loop().time() + wait_s)


@pytest.mark.parametrize(
    "script",
    [sends(FRAMED), sends(FRAMED, and_ends=True), sends(FRAMED + b"\0junk"), dribbles],
    ids=["no fin", "fin", "junk behind", "byte by byte"],
)
async def test_a_whole_reply_is_given_without_its_length(script: Script) -> None:
    async with machine(script) as (port, requests, closed):
        assert await ask(port) == PAYLOAD
        await asyncio.wait_for(closed.wait(), GENEROUS_S)
        assert requests == [b"\x19\x00\x00\x00" + REQUEST]


@pytest.mark.parametrize(
    ("script", "wait_s", "kind"),
    [
        (sends(FRAMED[:20], and_ends=True), GENEROUS_S, FaultKind.MALFORMED),
        (sends(b"\x38\x00", and_ends=True), GENEROUS_S, FaultKind.MALFORMED),
        (sends(b"", and_ends=True), GENEROUS_S, FaultKind.MALFORMED),
        (sends(b"\0\0\0\0"), GENEROUS_S, FaultKind.MALFORMED),
        (sends(b"\xff\xff\xff\xff" + PAYLOAD), GENEROUS_S, FaultKind.OVERSIZE),
        (sends(PAYLOAD), GENEROUS_S, FaultKind.OVERSIZE),  # JSON without a length: its text is read as one
        (resets, GENEROUS_S, FaultKind.MALFORMED),
        (hangs, BRIEF_S, FaultKind.TIMEOUT),
        (sends(FRAMED[:-1]), BRIEF_S, FaultKind.TIMEOUT),
        (dribbles_for_ever, BRIEF_S, FaultKind.TIMEOUT),
    ],
    ids=["cut", "cut in the length", "empty", "zero", "4 GiB", "no length", "reset", "hang", "short", "dribble"],
)
async def test_every_way_to_fail_has_its_kind_and_closes_the_socket(
    script: Script, wait_s: float, kind: FaultKind
) -> None:
    async with machine(script) as (port, _, closed):
        with pytest.raises(PollError) as error:
            await ask(port, wait_s)
        assert error.value.kind is kind
        await asyncio.wait_for(closed.wait(), GENEROUS_S)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port
        with pytest.raises(PollError) as error:
            await ask(taken.getsockname()[1])
    assert error.value.kind is FaultKind.REFUSED
