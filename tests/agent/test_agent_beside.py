"""The second door of a guarded listener: who comes in, what is served, and what readers say where it is shut."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import aiohttp
import bcrypt
import pytest
import uvloop
from cycles import AT_S, QUOTES, make_snapshot, small_cycle

from agent import cli, web, wiring
from agent.config import load_neighbour
from agent.running import Unreachable, ask, door_of, url_of
from agent.web import Listener, Pages, listen
from exporters.census import census
from exporters.report import status_document
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import InputState, Market
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import MachineInfo
from fleet.tariff import FlatTariff, PowerPrice

MANY_BYTES = 10_000_000


def pages() -> Pages:
    def no_metrics() -> Iterator[bytes]:
        return iter([b"hashwatt_up 1\n"])

    return Pages("north", no_metrics, lambda: {"site": "north"}, lambda: True, fleet=lambda: b'{"site":"north"}')


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users:\n  prom: {bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
    return path


async def opened(web_config: Path, beside: Path) -> Listener:
    listener = await listen("127.0.0.1", 0, pages(), web_config)
    await listener.open_beside(beside)
    return listener


async def test_readers_beside_the_agent_need_no_password_and_nobody_else_is_let_in(
    tmp_path: Path, guarded: Path
) -> None:
    beside = tmp_path / "hashwatt.db.sock"
    listener = await opened(guarded, beside)
    assert beside.stat().st_mode & 0o777 == 0o600
    door = f"unix:{beside}"
    assert await asyncio.to_thread(ask, door, "status.json", MANY_BYTES) == b'{"site":"north"}'
    assert await asyncio.to_thread(ask, door, "fleet.json", MANY_BYTES) == b'{"site":"north"}'
    assert await asyncio.to_thread(ask, door, "readyz", MANY_BYTES) == b"ready\n"
    for page in ("", "metrics", "sd", "healthz", "nowhere"):
        with pytest.raises(Unreachable, match="it says 404 Not Found"):
            await asyncio.to_thread(ask, door, page, MANY_BYTES)
    with pytest.raises(Unreachable, match="it says 401 Unauthorized"):
        await asyncio.to_thread(ask, f"http://127.0.0.1:{listener.port}", "status.json", MANY_BYTES)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{listener.port}/status.json", headers={"Host": "localhost"}) as response,
    ):
        assert response.status == 401, "a name proves nothing"
    await listener.aclose()
    assert not beside.exists()


async def test_what_a_killed_agent_left_behind_is_replaced(tmp_path: Path, guarded: Path) -> None:
    beside = tmp_path / "hashwatt.db.sock"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(beside))
    left.close()
    with pytest.raises(Unreachable, match="no agent listens there"):
        ask(f"unix:{beside}", "readyz", 100)
    listener = await opened(guarded, beside)
    assert await asyncio.to_thread(ask, f"unix:{beside}", "readyz", 100) == b"ready\n"
    await listener.aclose()


@pytest.mark.parametrize("name", ["file", "x" * 150, "none/hashwatt.sock"])
async def test_an_agent_without_the_door_goes_on_and_says_why(
    tmp_path: Path, guarded: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / "file").write_text("somebody's")
    with caplog.at_level(logging.WARNING):
        listener = await opened(guarded, tmp_path / name)
    assert "so the commands here look for themselves: " in caplog.text
    assert (tmp_path / "file").read_text() == "somebody's"
    with pytest.raises(Unreachable, match="401"):
        await asyncio.to_thread(ask, f"http://127.0.0.1:{listener.port}", "readyz", 100)
    await listener.aclose()


def test_an_unguarded_listener_is_asked_itself(tmp_path: Path) -> None:
    path = tmp_path / "hashwatt.toml"
    path.write_text('[prometheus]\nlisten = "0.0.0.0:9000"\ninsecure = true\n')
    assert door_of(*load_neighbour(path)) == "http://127.0.0.1:9000"
    path.write_text('[prometheus]\nweb_config = "web.yml"\n[journal]\npath = "state/farm.db"\n')
    (tmp_path / "web.yml").write_text("")
    assert door_of(*load_neighbour(path)) == f"unix:{tmp_path}/state/farm.db.sock"
    assert url_of(load_neighbour(path).listener) == "http://127.0.0.1:9851"
    path.write_text('[prometheus]\nweb_config = "web.yml"\n[journal]\npath = "/"\n')  # `check` says what is wrong
    assert door_of(*load_neighbour(path)) == "unix:/.sock"


def test_the_address_of_a_listener_with_a_certificate_says_so(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("tls_server_config:\n  cert_file: a.pem\n  key_file: a.key\n", encoding="utf-8")
    for name in ("a.pem", "a.key"):
        (tmp_path / name).touch()
    path = tmp_path / "hashwatt.toml"
    path.write_text('[prometheus]\nlisten = "[::1]:9000"\nweb_config = "web.yml"\n', encoding="utf-8")
    assert url_of(load_neighbour(path).listener) == "https://[::1]:9000"


# --- the commands ----------------------------------------------------------------------------------------------------


def one_machine() -> Cycle:
    seen = make_snapshot(
        ("a",), up=[1.0], hashrate_hs=[100e12], power_w=[3000.0], power_source=[1], is_running=[True],
        hashrate_if_running_hs=[100e12], power_if_running_w=[3000.0], standby_w=[30.0], infos=(MachineInfo(),),
    )  # fmt: skip
    site = Site("north", (Machine("a"),), terms=EconomicTerms(), tariff=FlatTariff(0.05))
    power = (PowerPrice("", 0.05, "flat", InputState.FRESH),)
    market = Market(tuple(quote for quotes in QUOTES.values() for quote in quotes))
    return think(site, seen, market, Signals(), Policy(), Memory(), AT_S, power)


@contextmanager
def agent_beside(path: Path, answers: dict[str, bytes]) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingUnixStreamServer(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def config(tmp_path: Path, guarded: Path) -> str:
    path = tmp_path / "hashwatt.toml"
    path.write_text(
        '[site]\nname = "north"\n[prometheus]\nlisten = "127.0.0.1:1"\nweb_config = "web.yml"\n'
        '[journal]\npath = "hashwatt.db"\n'
    )
    return str(path)


@pytest.mark.parametrize("command", ["ladder", "worth"])
def test_the_agent_behind_a_password_is_asked_and_nobody_is_looked_at(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.delattr(wiring, "once")
    with agent_beside(tmp_path / "hashwatt.db.sock", {"/fleet.json": census(one_machine())}):
        assert cli.main([command, "--json", "--config", config]) == 0
    out, errors = capsys.readouterr()
    assert (json.loads(out)["basis"], errors) == ("agent", "")


@pytest.mark.parametrize("command", ["ladder", "worth"])
def test_where_the_door_is_shut_one_line_says_why_and_one_look_is_taken(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr(wiring, "once", lambda _: one_machine())
    door = f"no fleet from an agent at unix:{tmp_path}/hashwatt.db.sock: "
    assert cli.main([command, "--json", "--config", config]) == 0
    out, errors = capsys.readouterr()
    assert json.loads(out)["basis"] == "look"
    assert errors == f"{door}no agent listens there; one look at every machine instead\n"

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)  # root may open everything
    cli.main([command, "--json", "--config", config])
    told = "only root and the agent's own user may ask there; one look at every machine instead\n"
    assert capsys.readouterr().err == door + told


def test_status_asks_there_as_well(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cycle = small_cycle()
    document = json.dumps(status_document(cycle, cycle.at_s + 90)).encode()
    with agent_beside(tmp_path / "hashwatt.db.sock", {"/status.json": document}):
        assert cli.main(["status", "--config", config]) == 0
    assert "north" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["status", "ladder", "worth"])
@pytest.mark.parametrize("url", ["ftp://farm.example", "unix:/run/a.sock", "https://prom:hunter2@127.0.0.1:9851"])
def test_an_address_that_is_none_or_holds_a_password_is_refused_without_it(
    config: str, capsys: pytest.CaptureFixture[str], command: str, url: str
) -> None:
    assert cli.main([command, "--url", url, "--config", config]) == 2
    told = capsys.readouterr().err
    assert told.startswith("--url: ")
    assert "hunter2" not in told


def test_a_door_that_speaks_something_else_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)

    def talk() -> None:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=talk)
    thread.start()
    with pytest.raises(Unreachable, match="it speaks no HTTP"):
        ask(f"unix:{path}", "readyz", 100)
    thread.join()
    server.close()


# --- a crowd ---------------------------------------------------------------------------------------------------------


def test_connections_that_are_too_many_end_without_a_word_in_the_log(
    tmp_path: Path, guarded: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On uvloop, as an agent runs: its transport of a socket file is no asyncio.Transport."""
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 0)
    monkeypatch.setattr(web, "KEPT_BESIDE", 0)
    beside = tmp_path / "hashwatt.db.sock"

    async def refused() -> None:
        listener = await opened(guarded, beside)
        with pytest.raises(Unreachable):
            await asyncio.to_thread(ask, f"unix:{beside}", "readyz", 100)
        await listener.aclose()

    uvloop.run(refused())
    assert caplog.messages == []


async def test_strangers_that_hold_every_connection_do_not_shut_out_who_asks_beside(
    tmp_path: Path, guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 1)
    beside = tmp_path / "hashwatt.db.sock"
    listener = await opened(guarded, beside)
    reader, stranger = await asyncio.open_connection("127.0.0.1", listener.port)
    stranger.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"unauthorized\n")
    with pytest.raises(Unreachable):
        await asyncio.to_thread(ask, f"http://127.0.0.1:{listener.port}", "readyz", 100)
    assert await asyncio.to_thread(ask, f"unix:{beside}", "readyz", 100) == b"ready\n"
    stranger.close()
    await listener.aclose()


def test_two_agents_with_journals_in_one_folder_have_two_doors(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("", encoding="utf-8")
    doors = set()
    for name in ("farm.db", "farm.sqlite"):
        (tmp_path / "hashwatt.toml").write_text(
            f'[prometheus]\nweb_config = "web.yml"\n[journal]\npath = "{name}"\n', encoding="utf-8"
        )
        doors.add(door_of(*load_neighbour(tmp_path / "hashwatt.toml")))
    assert len(doors) == 2
