"""A recorded machine on sockets is read like the folder it comes from, and refuses as its firmware would."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.captures import load, read_capture
from collectors.miners.line import Line
from collectors.miners.make import Ask, Credential, Via
from collectors.miners.native import NativeMiner
from collectors.miners.transport import exchange_bytes
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading
from hil.replay import LOGIN, ReplayedMachine

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"
SETS = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir())
HOST = f"127.{60 + os.getpid() % 40}.66.1"
ANY = {4028: 0, 4433: 0, 80: 0, 8080: 0}


def replayed(folder: Path) -> ReplayedMachine:
    return ReplayedMachine(load(folder), HOST, ANY)


def line_to(machine: ReplayedMachine, login: Credential | None = LOGIN) -> Line:
    refused = dict.fromkeys(ANY, 1)  # port 1 of a loopback address refuses
    return Line(machine.host, refused | machine.at, login)


async def looked_at(machine: ReplayedMachine, login: Credential | None = LOGIN) -> MinerReading:
    return await NativeMiner(line_to(machine, login), deadline_s=20.0).read(is_deep=True)


def said(reading: MinerReading) -> MinerReading:
    return replace(reading, way=None, warnings=())


@pytest.mark.parametrize("name", SETS)
async def test_a_machine_on_sockets_gives_the_reading_of_its_folder(name: str) -> None:
    async with replayed(CAPTURES / name) as machine:
        assert said(await looked_at(machine)) == said(read_capture(load(CAPTURES / name)))


@pytest.mark.parametrize("name", ["antminer-stock-2022", "braiins-25.07-rest", "luxos-2025.4", "epic-powerplay-1.5"])
async def test_a_folder_without_a_manifest_is_served_too(name: str, tmp_path: Path) -> None:
    for path in (CAPTURES / name).glob("*.json"):
        shutil.copy(path, tmp_path)
    async with replayed(tmp_path) as machine:
        assert said(await looked_at(machine)) == said(read_capture(load(CAPTURES / name)))


async def test_joined_commands_only_where_the_machine_took_them() -> None:
    request = b'{"command":"summary+devs+status"}'
    async with replayed(CAPTURES / "whatsminer-v1") as machine:
        answer = json.loads(await exchange_bytes(HOST, machine.at[4028], request, deadline()))
    assert answer["summary"][0] == json.loads((CAPTURES / "whatsminer-v1" / "summary.json").read_text())
    assert answer["status"][0]["STATUS"][0]["Code"] == 14  # commands of the maker's own do not join
    async with replayed(CAPTURES / "antminer-stock-2022") as machine:
        answer = json.loads(await exchange_bytes(HOST, machine.at[4028], request, deadline()))
    assert answer["STATUS"][0] == {
        "STATUS": "E",
        "When": 0,
        "Code": 14,
        "Msg": "invalid cmd",
        "Description": "cgminer 1.0.0",
    }


def deadline() -> float:
    return asyncio.get_running_loop().time() + 5.0


async def test_bytes_come_back_as_they_were_recorded(tmp_path: Path) -> None:
    broken = b'{"STATUS":[{"STATUS":"S"}]"VERSION":[{"Type":"\xff"}{"a":nan}]}'
    (tmp_path / "version.json").write_bytes(broken)
    (tmp_path / "capture.toml").write_text(
        '[[reply]]\nname="version"\nvia="rpc"\nwhat="version"\nfile="version.json"\n'
    )
    async with replayed(tmp_path) as machine:
        assert await exchange_bytes(HOST, machine.at[4028], b'{"command":"version"}', deadline()) == broken


@pytest.mark.parametrize("name", ["elphapex-stock", "braiins-25.07-rest"])
async def test_a_wrong_password_opens_nothing(name: str) -> None:
    async with replayed(CAPTURES / name) as machine:
        with pytest.raises(PollError) as refused:
            await looked_at(machine, Credential("root", "wrong"))
        assert refused.value.kind is FaultKind.DENIED


async def test_pages_that_were_not_recorded_are_not_there() -> None:
    async with replayed(CAPTURES / "bitaxe-axeos-2.4") as machine:
        with pytest.raises(PollError) as refused:
            await line_to(machine).ask(Ask("x", "/api/v1/x", via=Via.HTTP, port=80), deadline())
        assert refused.value.kind is FaultKind.UNSUPPORTED
        assert machine.asked == ["GET /api/v1/x"]


async def test_a_recorded_first_page_keeps_its_status_and_headers(tmp_path: Path) -> None:
    page = b'HTTP/1.1 401\r\nwww-authenticate: Digest realm="antMiner Configuration"\r\ncontent-length: 999\r\n\r\nno'
    (tmp_path / "landing.txt").write_bytes(page)
    manifest = '[[reply]]\nname="landing"\nvia="http"\nport=80\nwhat="/"\nfile="landing.txt"\n'
    (tmp_path / "capture.toml").write_text(manifest)
    async with replayed(tmp_path) as machine:
        told = await line_to(machine).ask(Ask("landing", "/", via=Via.HTTP, port=80, is_text=True), deadline())
    assert told.startswith("HTTP/1.1 401")
    assert 'realm="antMiner Configuration"' in told
    assert told.endswith("\r\n\r\nno")
