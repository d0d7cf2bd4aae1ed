"""`hashwatt capture` and `hashwatt probe --replay`: a machine becomes a folder that is read like the machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import capture, cli, pdu_capture
from agent.discreet import Discreet
from agent.plan import DEADLINE_S
from collectors.captures import load, read_capture
from collectors.miners.identify import LANDING
from collectors.miners.make import Ask, Credential
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.readings import FaultKind
from hil.replay import LOGIN, ReplayedMachine

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"
BLOCK = 60 + os.getpid() % 40
IDENTITIES = {"mac", "serial", "hostname", "pool_host", "way", "boards", "warnings"}

PLANTED = {
    "pool user": "canaryUser77",
    "worker": "canaryRig77",
    "pool password": "canaryPass77",
    "web password": "canaryWeb77",
    "token": "canaryToken77",
    "salt": "canarySalt77",
    "session": "canarySession77",
    "ssid": "CanaryNet77",
    "wifi key": "canaryWifi77",
    "mac": "c4:08:28:ca:7a:77",
    "serial": "CANARYSN0077",
    "dna": "0201ca7a77ca7a77",
    "eeprom": "CANARYEE0077",
    "hostname": "canary-host-77",
    "address": "10.77.66.55",
    "gateway": "10.77.66.1",
    "wallet": "bc1qcanary77w508d6qejxtdg4y5r3zarvary0c5xw7k",
    "mail": "canary77@farm.example",
    "login in an URL": "canaryLogin77",
}


@contextlib.contextmanager
def serving(folder: Path, place: int) -> Iterator[tuple[str, ReplayedMachine]]:
    """A replayed machine in a thread of its own: the commands under test bring their own loop."""
    host = f"127.{BLOCK}.67.{place}"
    machine = ReplayedMachine(load(folder), host)
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    failed: list[BaseException] = []

    async def run() -> None:
        try:
            async with machine:
                ready.set()
                await stop.wait()
        except OSError as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        assert not failed, failed
        yield host, machine
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(autouse=True)
def _nobody_speaks_snmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are machines; waiting a second for each to say so would only take time."""
    monkeypatch.setattr(pdu_capture, "ANSWER_S", 0.05)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = cli.main(["probe", *words, "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["recognised"] is (code == 0)
    return document


# --- capture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "name", "joins"),
    [
        (1, "whatsminer-v1", True),
        (2, "luxos-2025.4", True),
        (3, "sealminer-stock-2025", False),
        (4, "epic-powerplay-1.5", None),
    ],
)
def test_a_recording_is_read_like_the_machine(
    place: int, name: str, joins: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "machine"
    with serving(CAPTURES / name, place) as (host, machine):
        assert cli.main(["capture", host, "-o", str(folder)]) == 0
        assert not any("ascset" in asked or asked.startswith(("POST", "set")) for asked in machine.asked)
    printed = capsys.readouterr().out
    assert "replaced:" in printed
    recorded, original = read_capture(load(folder)), read_capture(load(CAPTURES / name))
    for field in type(original).__dataclass_fields__:
        if field not in IDENTITIES:
            assert getattr(recorded, field) == getattr(original, field), field
    assert len(recorded.boards) == len(original.boards)
    assert load(folder).joins is joins
    assert told(capsys, "--replay", str(folder))["recognised"]


async def test_pages_and_their_login_are_recorded_without_the_login(tmp_path: Path) -> None:
    """At other ports than the command would use: only root may listen on 80."""
    for name, kind in (("elphapex-stock", "digest"), ("braiins-25.07-rest", "token")):
        ports = {80: 0, 4028: 0}
        async with ReplayedMachine(load(CAPTURES / name), f"127.{BLOCK}.67.9", ports) as machine:
            refused = dict.fromkeys((4028, 4433, 80, 8080), 1)
            line = capture._Recorder(machine.host, refused | machine.at, LOGIN)
            recording = await capture._record(line, None)
        folder = tmp_path / name
        capture._write(folder, capture._files(recording, Redactor(b"key", known=[LOGIN.password])))
        again = load(folder)
        assert again.gate is not None
        assert again.gate.kind == kind
        everything = b"".join(path.read_bytes() for path in folder.iterdir())
        assert LOGIN.password.encode() not in everything
        assert not any("login" in (reply.what or "") for reply in again.replies)
        assert read_capture(again).hashrate_hs == read_capture(load(CAPTURES / name)).hashrate_hs
        async with ReplayedMachine(again, f"127.{BLOCK}.67.9", ports) as machine:  # and it can be played once more
            refused = dict.fromkeys((4028, 4433, 80, 8080), 1)
            twice = await capture._record(capture._Recorder(machine.host, refused | machine.at, LOGIN), None)
        assert twice.reading is not None
        assert twice.reading.hashrate_hs == read_capture(again).hashrate_hs


async def test_a_port_without_a_machine_is_asked_once_and_a_page_is_no_answer_to_a_command() -> None:
    """A web server on the port of the cgminer API answers every command; nobody is on any other port."""

    asked: list[int] = []

    class Elsewhere(capture._Recorder):
        async def ask_raw(self, ask: Ask, deadline_at: float) -> bytes:
            asked.append(ask.port)
            if ask.port != 4028:
                raise PollError(FaultKind.REFUSED, "closed")
            return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    line = Elsewhere("127.0.0.1", {}, None)
    await capture._ask_generally(line, asyncio.get_running_loop().time() + 5.0)
    assert asked.count(80) == 1
    assert asked.count(4028) > 10
    assert line.recording.replies == {}
    with pytest.raises(PollError):
        await line.ask(Ask("summary", "summary"), asyncio.get_running_loop().time() + 5.0)
    assert line.recording.replies == {}


def test_the_realm_of_a_login_is_redacted_like_the_page_that_names_it(tmp_path: Path) -> None:
    page = b'HTTP/1.1 401 \r\nwww-authenticate: Digest realm="rig C4:08:28:CA:7A:77", nonce="1"\r\n\r\n'
    folder = tmp_path / "gate"
    capture._write(folder, capture._files(capture.Recording({LANDING: page}), Redactor(b"key")))
    gate = load(folder).gate
    assert gate is not None
    assert gate.kind == "digest"
    assert gate.realm.startswith("rig 02:")
    assert gate.realm.encode() in (folder / "landing.txt").read_bytes()


def test_an_unknown_machine_is_recorded_with_what_it_will_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "summary.json").write_text('{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"MHS av":5.0,"Pass":"canaryPass77"}]}')
    manifest = '[[reply]]\nname="summary"\nvia="rpc"\nport=4028\nwhat="summary"\nfile="summary.json"\n'
    (source / "capture.toml").write_text(manifest)
    folder = tmp_path / "unknown"
    with serving(source, 5) as (host, _):
        assert cli.main(["capture", host, "-o", str(folder)]) == 0
    assert "could not be read" in capsys.readouterr().out
    names = {reply.name for reply in load(folder).replies}
    assert "summary" in names
    assert "stats" not in names  # refused
    assert "canaryPass77" not in (folder / "summary.json").read_text()
    assert told(capsys, "--replay", str(folder))["findings"][0]["fault"]["kind"] == "unsupported"


def test_nobody_there_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["capture", f"127.{BLOCK}.67.99", "-o", str(tmp_path / "none")]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "nothing to record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("8.8.8.8",), "outside private address space"),
        (("10.0.0.0/24",), "not one address"),
        (("127.0.0.1", "--credential", "nobody"), "credentials.nobody"),
    ],
)
def test_what_the_operator_got_wrong_is_one_line(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["capture", *arguments, "-o", str(tmp_path / "x")]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_never_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert cli.main(["capture", "127.0.0.1", "-o", str(tmp_path / "mine")]) == 2
    assert "there already" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []
    assert cli.main(["capture", "127.0.0.1", "-o", str(tmp_path / "no" / "x")]) == 2
    assert "no folder" in capsys.readouterr().err


# --- what must not be told ---------------------------------------------------------------------------------------


def planted(home: Path) -> Path:
    """A machine that tells secrets of every kind, wherever firmware does, in healthy and in broken replies."""
    shutil.copytree(CAPTURES / "antminer-stock-2022", home)
    pools = {
        "User": f"{PLANTED['pool user']}.{PLANTED['worker']}",
        "Pass": PLANTED["pool password"],
        "URL": f"stratum+tcp://{PLANTED['login in an URL']}:{PLANTED['web password']}@pool.example:3333",
        "Worker": PLANTED["wallet"],
        "note": f"ask {PLANTED['mail']}",
    }
    secrets = {
        "password": PLANTED["web password"],
        "token": PLANTED["token"],
        "salt": PLANTED["salt"],
        "session_id": PLANTED["session"],
        "network": {"ssid": PLANTED["ssid"], "wifi_key": PLANTED["wifi key"], "mac": PLANTED["mac"]},
        "hostname": PLANTED["hostname"],
        "ip": PLANTED["address"],
        "text": f"'STATS':{{DNA[{PLANTED['dna']}] GW[{PLANTED['gateway']}]}}",
        "boards": [{"sn": PLANTED["serial"], "eeprom": PLANTED["eeprom"]}],
    }
    for name, section in (("pools", pools), ("version", secrets)):
        path = home / f"{name}.json"
        reply = json.loads(path.read_text())
        reply[name.upper()][0] |= section
        text = json.dumps(reply)
        path.write_bytes(text.replace('", "', '" "').encode() + b"\x00\n" if name == "pools" else text.encode())
    denial = {"STATUS": "E", "Code": 45, "Msg": f"Access denied, token={PLANTED['token']} for {PLANTED['mail']}"}
    (home / "devs.json").write_text(json.dumps({"STATUS": [denial], "id": 1}))
    return home


def test_planted_secrets_appear_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "told"
    with serving(planted(tmp_path / "source"), 6) as (host, _):
        assert cli.main(["--debug", "capture", host, "-o", str(folder)]) == 0
    for words in (["probe", "--replay", str(folder)], ["probe", "--replay", str(folder), "--json"]):
        assert cli.main(["--debug", *words]) == 0
    out, err = capsys.readouterr()
    shown = {path.name: path.read_text("latin-1") for path in folder.iterdir()} | {"out": out, "err": err}
    leaks = {
        (kind, where)
        for kind, value in PLANTED.items()
        for where, text in shown.items()
        if value.lower() in text.lower() or value.replace(":", "").lower() in text.lower()
    }
    assert not leaks
    reading = read_capture(load(folder))
    assert reading.model == "S19 Pro"
    assert reading.pool_host == "btc.global.luxor.tech"


@pytest.fixture
def _no_pdu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live probe also waits for a PDU; here is none."""
    monkeypatch.setitem(DEADLINE_S, "snmp", 0.1)


@pytest.mark.usefixtures("_no_pdu")
def test_the_live_probe_tells_identities_but_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(planted(tmp_path / "source"), 7) as (host, _):
        assert cli.main(["--debug", "probe", host, "--json"]) == 0
        assert cli.main(["--debug", "probe", host]) == 0
    out, err = capsys.readouterr()
    for kind in ("pool user", "worker", "pool password", "web password", "token", "salt", "session", "wallet", "mail"):
        assert PLANTED[kind] not in out + err


def test_a_refusal_is_shown_without_the_secret_that_the_machine_put_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    denial = {"STATUS": "E", "Code": 45, "Msg": f"Access denied, token={PLANTED['token']} for {PLANTED['mail']}"}
    shutil.copy(CAPTURES / "antminer-stock-2022" / "version.json", tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"STATUS": [denial], "id": 1}))
    assert cli.main(["probe", "--replay", str(tmp_path)]) == 1
    out, _ = capsys.readouterr()
    assert PLANTED["token"] not in out
    assert PLANTED["mail"] not in out


def test_a_log_line_tells_no_secret_not_even_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    cli._log_to_stderr("debug")
    log = logging.getLogger("some.child")
    try:
        raise ValueError("login with password=canaryPass77 refused")
    except ValueError:
        log.exception("10.0.0.5: %s", {"user": "canaryUser77", "mac": "c4:08:28:00:a4:19"})
    said = capsys.readouterr().err
    assert "canary" not in said
    assert "10.0.0.5" in said
    assert "c4:08:28:00:a4:19" in said
    assert "ValueError" in said


def test_a_log_line_that_cannot_be_formatted_is_left_to_the_handler() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%d", ("no number",), None)
    assert Discreet().filter(record) is True
    assert record.args == ("no number",)


@pytest.mark.parametrize(("out", "complaint"), [("", "is there already"), ("closed/new", "no permission")])
def test_a_folder_that_cannot_be_made_is_told_before_anybody_is_asked(
    out: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed")  # root may write everywhere
    monkeypatch.setattr(capture, "_record", None)  # asking would fail
    assert cli.main(["capture", f"127.{BLOCK}.67.9", "-o", out]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert complaint in said.err


# --- probe --replay ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_pdu")
def test_a_replayed_folder_is_the_document_of_a_live_probe(capsys: pytest.CaptureFixture[str]) -> None:
    folder = CAPTURES / "antminer-stock-2022"
    with serving(folder, 8) as (host, _):
        live = told(capsys, host)
    replayed = told(capsys, "--replay", str(folder))
    assert replayed["host"] == str(folder)
    assert list(replayed) == list(live)
    mine, theirs = replayed["findings"][0]["reading"], live["findings"][0]["reading"]
    assert list(mine) == list(theirs)
    assert {k: v for k, v in mine.items() if k not in ("way", "warnings")} == {
        k: v for k, v in theirs.items() if k not in ("way", "warnings")
    }


def test_a_saved_walk_of_a_pdu_is_read_too(capsys: pytest.CaptureFixture[str]) -> None:
    walk = CAPTURES.parent / "pdus" / "synthetic_apc_rpdu2.snmprec"
    document = told(capsys, "--replay", str(walk))
    assert document["findings"][0]["driver"] == "snmp"
    assert document["findings"][0]["reading"]["profile"] == "apc_rpdu2"


@pytest.mark.parametrize("folder", ["/nowhere", ".", "x.snmprec"])
def test_what_is_no_recording_is_one_line(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["probe", "--replay", folder]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_a_manifest_survives_any_text(tmp_path: Path) -> None:
    text = 'a "quoted" \\ back\n\x00\x7fé\U0001f600'
    assert tomllib.loads(f"x = {capture._toml(text)}") == {"x": text}
    assert tomllib.loads(f"x = {capture._toml({'new_api': True, 'n': 1})}") == {"x": {"new_api": True, "n": 1}}


def test_a_credential_of_the_configuration_is_used(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("let-me-in\n")
    (tmp_path / "pw").chmod(0o600)
    path = tmp_path / "hashwatt.toml"
    path.write_text(
        '[site]\nname = "x"\n[credentials.web]\nuser = "root"\npassword_file = "pw"\n'
        '[[miners]]\ntargets = ["10.9.9.9"]\ncredential = "web"\n'
    )
    from agent.config import load as load_config
    from agent.probe import miner_job

    config = load_config(path)
    assert capture._login(config, "web", {}) == Credential("root", "let-me-in")
    options = miner_job("10.9.9.9", None, config).options or {}
    assert capture._login(config, None, options) == Credential("root", "let-me-in")
    assert capture._login(config, None, miner_job("10.9.9.8", None, config).options or {}) is None
