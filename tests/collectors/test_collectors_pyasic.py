"""pyasic behind our adapter, against a WhatsMiner that replays its capture on 127.7.x.y:4028, pyasic's only port.

Expected numbers are read by hand from tests/captures/miners/whatsminer-v1: pyasic takes `MHS 1m`, 67 439 352.49 MH/s,
`Power` 3417 W, `Factory GHS` 68 796, and per board `Temperature` and `Chip Temp Avg`, rounded.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count

import httpx
import pytest
from scripted_miner import Answer, Hang, KeepOpen, Reset, captured, refuse, scripted_miner, wire

from collectors.miners import pyasic_adapter
from collectors.miners.make import Credential
from collectors.miners.pyasic_adapter import PyasicMiner, is_empty
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor, Temperature

FOLDER = "whatsminer-v1"
SUMMARY, DEVS, POOLS = captured(FOLDER, "summary"), captured(FOLDER, "devs"), captured(FOLDER, "pools")
# No capture of these two; shapes from the WhatsMiner API documents. 3 x 105 chips and 68.8 TH/s are an M20S V10.
DEVDETAILS = {
    "STATUS": [
        {"STATUS": "S", "When": 1761061371, "Code": 69, "Msg": "Device Details", "Description": "cgminer 4.9.2"}
    ],
    "DEVDETAILS": [
        {"DEVDETAILS": i, "Name": "SM", "ID": i, "Driver": "bitmicro", "Kernel": "", "Model": "M20S_V10"}
        for i in range(3)
    ],
    "id": 1,
}
VERSION = refuse(14, "Invalid command", "btminer")


class Replaying(dict[str, Answer]):
    """Answers by command. Joined commands come in the order of a set; the answer has the members that were asked."""

    def __init__(self, answers: dict[str, Answer], **changed: object) -> None:
        super().__init__(answers)
        self._parts = {"summary": SUMMARY, "devs": DEVS, "pools": POOLS} | changed

    def get(self, command: str, default: object = None) -> object:  # type: ignore[override]
        if "+" not in command:
            return super().get(command, default)
        return wire({name: [self._parts[name]] for name in command.split("+")} | {"id": 1})


def whatsminer(**changes: Answer) -> dict[str, Answer]:
    answers: dict[str, Answer] = {
        "version": VERSION,
        "devdetails": wire(DEVDETAILS),
        "get_version": wire(captured(FOLDER, "get_version")),
        "get_psu": wire(captured(FOLDER, "get_psu")),
        "status": wire(captured(FOLDER, "status")),
        "summary": wire(SUMMARY),
        "devs": wire(DEVS),
        "pools": wire(POOLS),
        "*": refuse(14, "Invalid command", "btminer"),
    }
    return answers | changes


_numbers = count(1)


@pytest.fixture
def host(worker_id: str) -> str:
    """An own address for each test, so that several machines can have the one port that pyasic knows."""
    worker = 0 if worker_id == "master" else int(worker_id.removeprefix("gw")) + 1
    return f"127.7.{worker}.{next(_numbers)}"


async def look(host: str, answers: dict[str, Answer], **changed: object) -> MinerReading:
    """One look at the machine, with the named parts of its joined reply changed."""
    async with scripted_miner(answers, host, 4028) as server:
        server.answers = Replaying(server.answers, **changed)
        miner = PyasicMiner(host, 20.0)
        try:
            return await miner.read()
        finally:
            await miner.aclose()


async def test_a_whatsminer_is_read_as_its_capture_says(host: str) -> None:
    reading = await look(host, whatsminer())
    assert (reading.driver, reading.make, reading.model) == ("pyasic", "WhatsMiner", "M20S V10")
    assert reading.algorithm == "sha256"
    assert reading.mac == "c4082800a419"
    assert reading.firmware == "20210322.22.REL"
    assert reading.state is OperatingState.MINING
    assert reading.hashrate_hs == pytest.approx(67_439_352.49e6)
    assert reading.hashrate_window_s == 60.0
    assert reading.hashrate_expected_hs == pytest.approx(68_796e9)
    assert reading.reported_power_w == 3417.0
    assert reading.power_side == "ac"
    assert (reading.hashrate_key, reading.power_key) == ("pyasic:WhatsMiner.hashrate", "pyasic:WhatsMiner.wattage")
    assert reading.power_limit_w == 3500.0
    assert reading.uptime_s == 10_154.0
    assert reading.fans_rpm == (6450.0, 6480.0)
    assert set(reading.temperatures) == {
        Temperature(Sensor.BOARD, 0, 70.0),
        Temperature(Sensor.BOARD, 1, 70.0),  # 69.5, rounded by the library
        Temperature(Sensor.BOARD, 2, 72.0),
        Temperature(Sensor.CHIP, 0, 83.0),
        Temperature(Sensor.CHIP, 1, 84.0),
        Temperature(Sensor.CHIP, 2, 85.0),
    }
    assert reading.pool_host == "btc.example.pool"
    assert reading.pool_alive is True
    assert (reading.shares_accepted, reading.shares_rejected) == (2338.0, 0.0)


async def test_a_reply_without_terminator_and_without_fin_is_read(host: str) -> None:
    plain = whatsminer()
    open_ended: dict[str, Answer] = {
        name: KeepOpen(answer.rstrip(b"\0")) if isinstance(answer, bytes) else answer for name, answer in plain.items()
    }
    reading = await look(host, open_ended)
    assert reading.reported_power_w == 3417.0


async def test_quoted_nan_is_missing_and_not_zero(host: str) -> None:
    row = SUMMARY["SUMMARY"][0] | {"MHS 1m": "nan", "Power": -1}  # type: ignore[index]
    boards = [board | {"MHS 1m": "nan"} for board in DEVS["DEVS"]]  # type: ignore[attr-defined]
    reading = await look(host, whatsminer(), summary=SUMMARY | {"SUMMARY": [row]}, devs=DEVS | {"DEVS": boards})
    assert reading.hashrate_hs is None
    assert reading.reported_power_w is None
    assert reading.state is OperatingState.UNKNOWN
    assert len(reading.temperatures) == 6


async def test_zero_watts_and_zero_degrees_of_a_running_machine_are_missing(host: str) -> None:
    row = SUMMARY["SUMMARY"][0] | {"Power": 0}  # type: ignore[index]
    boards = [board | {"Temperature": 0.0} for board in DEVS["DEVS"]]  # type: ignore[attr-defined]
    reading = await look(host, whatsminer(), summary=SUMMARY | {"SUMMARY": [row]}, devs=DEVS | {"DEVS": boards})
    assert (reading.reported_power_w, reading.power_side) == (None, None)
    assert {t.sensor for t in reading.temperatures} == {Sensor.CHIP}


async def test_one_broken_field_costs_that_field_only(host: str) -> None:
    pools = POOLS | {"POOLS": [POOLS["POOLS"][0] | {"URL": "nonsense+tcp://x.example:1"}]}  # type: ignore[index]
    reading = await look(host, whatsminer(), pools=pools)
    assert reading.reported_power_w == 3417.0
    assert reading.pool_host is None
    assert "field_failed" in reading.warnings


async def test_nobody_there_is_refused_and_not_a_calm_reading(host: str) -> None:
    with pytest.raises(PollError) as caught:
        await PyasicMiner(host, 10.0).read()
    assert caught.value.kind is FaultKind.REFUSED


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (Hang(), {FaultKind.TIMEOUT}),
        (Reset(), {FaultKind.MALFORMED}),
        (refuse(45, "Access denied", "btminer"), {FaultKind.MALFORMED, FaultKind.DENIED}),
        (b'{"SUMMARY":[]}\0', {FaultKind.MALFORMED}),
        (b"Socket connect failed: Connection refused\n", {FaultKind.REFUSED, FaultKind.MALFORMED}),
    ],
    ids=["hang", "reset", "denied", "empty", "api down"],
)
async def test_a_machine_that_was_known_and_fails_gives_a_fault(
    host: str, answer: Answer, kinds: set[FaultKind]
) -> None:
    async with scripted_miner(whatsminer(), host, 4028) as server:
        server.answers = Replaying(server.answers)
        miner = PyasicMiner(host, 20.0)
        await miner.read()
        server.answers = {"*": answer}
        miner._deadline_s = 1.0
        with pytest.raises(PollError) as caught:
            await miner.read()
    assert caught.value.kind in kinds
    assert len(caught.value.detail) < 200


async def test_another_machine_at_the_address_is_a_fault(host: str) -> None:
    async with scripted_miner(whatsminer(), host, 4028) as server:
        server.answers = Replaying(server.answers)
        miner = PyasicMiner(host, 20.0)
        await miner.read()
        miner._mac, miner._looks = "001122334455", 10
        with pytest.raises(PollError) as caught:
            await miner.read()
        assert caught.value.kind is FaultKind.IDENTITY
        assert (await miner.read()).mac == "c4082800a419"


def moved_in(elapsed_s: int) -> dict[str, object]:
    """The summary of another machine of the same make."""
    rows: list[dict[str, object]] = SUMMARY["SUMMARY"]  # type: ignore[assignment]
    return SUMMARY | {"SUMMARY": [rows[0] | {"Elapsed": elapsed_s, "MAC": "C4:08:28:00:FF:FF"}]}


async def test_another_run_is_asked_who_it_is_before_it_counts(host: str) -> None:
    async with scripted_miner(whatsminer(), host, 4028) as server:
        server.answers = Replaying(server.answers)
        miner = PyasicMiner(host, 20.0)
        assert (await miner.read()).mac == "c4082800a419"
        other = moved_in(20)
        server.answers = Replaying(whatsminer(summary=wire(other)), summary=other)
        with pytest.raises(PollError) as caught:
            await miner.read()
        assert caught.value.kind is FaultKind.IDENTITY
        assert (await miner.read()).mac == "c4082800ffff"


async def test_who_was_away_is_asked_who_it_is(host: str) -> None:
    async with scripted_miner(whatsminer(), host, 4028) as server:
        server.answers = Replaying(server.answers)
        miner = PyasicMiner(host, 20.0)
        first = await miner.read()
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.REFUSED
    other = moved_in(int(first.uptime_s or 0))  # started in the same second
    async with scripted_miner(whatsminer(summary=wire(other)), host, 4028) as server:
        server.answers = Replaying(server.answers, summary=other)
        with pytest.raises(PollError) as caught:
            await miner.read()
        assert caught.value.kind is FaultKind.IDENTITY


async def test_nothing_is_written_and_nothing_is_logged(host: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with scripted_miner(whatsminer(), host, 4028) as server:
            server.answers = Replaying(server.answers)
            await PyasicMiner(host, 20.0).read()
            await asyncio.wait_for(server.all_closed.wait(), 20.0)
    members = {part for command in server.asked for part in command.split("+")}
    assert members <= {
        "version", "devdetails", "get_version", "summary", "devs", "pools", "get_psu", "get_miner_info", "status",
        "get_error_code",
    }  # fmt: skip
    noise = [record.name for record in caplog.records if record.name not in ("asyncio",)]
    assert noise == []


def test_a_zero_without_anything_beside_it_is_empty() -> None:
    assert is_empty(MinerReading("pyasic", "x", hashrate_hs=0.0))
    assert not is_empty(MinerReading("pyasic", "x", hashrate_hs=0.0, reported_power_w=20.0))


# --- the library's doors stay closed -------------------------------------------------------------------------------


async def test_identification_follows_no_redirect_and_sends_no_login() -> None:
    requests: list[str] = []

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /secret\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(follow_redirects=True) as session:
            _, response = await pyasic_adapter._web_ping(session, f"http://{host}/")
        assert response is not None
        assert response.status_code == 302
        login = httpx.DigestAuth("root", "root")
        assert await pyasic_adapter._send_web_command(host, "/cgi-bin/get_system_info.cgi", login) is None
    assert len(requests) == 2
    assert not any("secret" in request or "authorization" in request.lower() for request in requests)


async def test_a_page_without_end_is_cut_off() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server, httpx.AsyncClient() as session:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await asyncio.wait_for(pyasic_adapter._web_ping(session, url), 30.0) == (None, None)


async def test_no_password_but_the_operators_is_known_to_the_library(host: str) -> None:
    from pyasic import settings

    async with scripted_miner(whatsminer(), host, 4028) as server:
        server.answers = Replaying(server.answers)
        miner = PyasicMiner(host, 20.0)
        await miner.read()
    assert miner._miner.rpc.pwd == ""
    passwords = {name: getattr(settings._settings, name) for name in type(settings._settings).model_fields}
    assert {value for name, value in passwords.items() if name.endswith("password")} == {""}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b'{"enc": 1, "data": "AAAA"}',
        b'{"cmd": "power_off", "token": "x"}',
        b'{"command": "get_token"}',
        b'\x20\x00\x00\x00{"cmd": "set.miner.service", "param": "stop"}',
    ],
)
async def test_a_write_of_the_library_goes_nowhere(host: str, request_bytes: bytes) -> None:
    library = pyasic_adapter._library()
    from pyasic.miners.backends.btminer import BTMinerV2

    async with scripted_miner({"*": b"{}"}, host, 4028) as server:
        miner = BTMinerV2(host)
        library.harden(miner, None, lambda: asyncio.get_running_loop().time() + 5.0)
        with pytest.raises(PollError, match="wanted to write"):
            await miner.rpc._send_bytes(request_bytes)
    assert server.asked == []


@pytest.mark.parametrize(
    ("credential", "login"), [(None, ("root", "")), (Credential("ops", "hall1"), ("ops", "hall1"))]
)
def test_a_client_with_a_built_in_password_gets_ours_or_none(
    credential: Credential | None, login: tuple[str, str]
) -> None:
    library = pyasic_adapter._library()
    from pyasic.miners.backends.marathon import MaraMiner

    mara = MaraMiner("127.0.0.1")
    library.harden(mara, credential, lambda: 0.0)
    assert (mara.web.username, mara.web.pwd) == login
