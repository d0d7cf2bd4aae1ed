"""The command line as an operator meets it: help, exit codes, one line for every failure, and a cheap start."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent import cli, preflight, probe
from agent.config import load
from agent.probe import Finding
from fleet.readings import (
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    Sensor,
    Temperature,
)

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "pyasic", "pysnmp", "aiohttp", "httpx", "sqlalchemy", "rich", "uvloop", "paho", "msgspec")


def hashwatt(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *words], capture_output=True, text=True, cwd=ROOT, env=os.environ | environment
    )


def config_file(folder: Path, text: str = "") -> Path:
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\n[journal]\npath = "{folder}/state/hashwatt.db"\n'
        f"[market]\nfixed = {{ btc_usd = 70000.0, difficulty = 1e14, height = 935140, block_fees_btc = 0.02 }}\n"
        f"[tariff]\nusd_per_kwh = 0.06\n{text}"
    )
    return path


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


# --- the start -------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_code() -> None:
    done = hashwatt("--help")
    assert done.returncode == 0
    for word in (
        "run",
        "once",
        "check",
        "status",
        "probe",
        "pdu",
        "hashprice",
        "ladder",
        "report",
        "--config",
        "Exit 0",
        "Exit 1",
        "Exit 2",
    ):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["run", "once", "check", "status", "probe", "hashprice", "ladder", "report"])
def test_every_command_explains_itself_and_takes_a_configuration(command: str) -> None:
    done = hashwatt(command, "--help")
    assert done.returncode == 0
    assert "--config PATH" in done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(("--help",), set()), (("check", "--config", "EXAMPLE"), {"numpy", "msgspec"})],
    ids=["help", "check"],
)
def test_the_start_loads_nothing_heavy(words: tuple[str, ...], wanted: set[str], tmp_path: Path) -> None:
    """The start is what these take: numpy alone is a third of it, pyasic would be ten of it."""
    example = (ROOT / "docs" / "hashwatt.example.toml").read_text(encoding="utf-8")
    path = tmp_path / "hashwatt.toml"  # a port in use would have check look whose it is
    path.write_text(example.replace("127.0.0.1:9851", f"127.0.0.1:{free_port()}"), encoding="utf-8")
    words = tuple(str(path) if word == "EXAMPLE" else word for word in words)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "agent.cli", *words], capture_output=True, text=True, cwd=ROOT
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in loaded
    assert loaded & set(HEAVY) == wanted


# --- the operator's input is wrong: 2 --------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("fly",), ("check", "--fast"), ("probe",), ("status", "--conf", "x")])
def test_wrong_words_are_exit_2_with_the_usage(words: tuple[str, ...]) -> None:
    done = hashwatt(*words)
    assert done.returncode == 2
    assert "usage: hashwatt" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["run", "once", "check", "status", "report"])
@pytest.mark.parametrize("before", [True, False])
def test_a_missing_configuration_is_exit_2_for_every_command(tmp_path: Path, command: str, before: bool) -> None:
    option = ("--config", str(tmp_path / "none.toml"))
    done = hashwatt(*option, command) if before else hashwatt(command, *option)
    assert done.returncode == 2
    assert done.stderr == f"none.toml: cannot read {tmp_path}/none.toml: No such file or directory\n"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("miner.lan", "probe: 'miner.lan' is not an IP address"),
        ("10.0.0.0/24", "probe: '10.0.0.0/24' is not one address"),
        ("8.8.8.8", "--insecure permits it"),
        ("169.254.169.254", "never polled"),
    ],
)
def test_probe_refuses_what_is_no_device(tmp_path: Path, host: str, said: str) -> None:
    done = hashwatt("probe", host, "--config", str(config_file(tmp_path)))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_port_in_use_is_one_line(tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = config_file(tmp_path, f'[prometheus]\nlisten = "127.0.0.1:{port}"\n')
        done = hashwatt(command, "--config", str(path))
    assert done.returncode == 2
    assert done.stderr == f"hashwatt.toml: prometheus.listen: 127.0.0.1:{port} is in use\n"


def test_a_range_where_nobody_answers_is_a_failure(tmp_path: Path) -> None:
    path = config_file(tmp_path, '[[miners]]\ntargets = ["127.99.254.248/30"]\n')
    assert hashwatt("once", "--config", str(path)).returncode == 1


def test_a_port_that_the_running_agent_has_is_no_mistake(tmp_path: Path) -> None:
    """An operator edits the file while the agent runs, and checks it before the restart."""
    (tmp_path / "state").mkdir()
    lock_file = tmp_path / "state" / "hashwatt.db.lock"
    with socket.create_server(("127.0.0.1", 0)) as taken, lock_file.open("w") as lock:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        path = config_file(tmp_path, f'[prometheus]\nlisten = "{listen}"\n')
        said = f"hashwatt.toml: prometheus.listen: {listen} is in use\n"
        assert hashwatt("check", "--config", str(path)).stderr == said
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = hashwatt("check", "--config", str(path))
        assert done.returncode == 0
        assert done.stdout.startswith("hashwatt.toml is good\n")
        assert hashwatt("run", "--config", str(path)).stderr == said


@pytest.mark.parametrize("command", ["check", "run", "once"])
def test_an_unknown_pdu_profile_is_one_line(tmp_path: Path, command: str) -> None:
    path = config_file(tmp_path, "[[pdus]]\ntargets = ['10.9.0.1']\nprofile = 'apc_rpdu3'\n")
    done = hashwatt(command, "--config", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("hashwatt.toml: pdus[0].profile: there is no profile 'apc_rpdu3'; known: auto, apc_")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[poll]\nlibrary = 'pyasic_rs'\n", "poll.library"),
        ("[[miners]]\ntargets = ['10.1.0.1']\ndriver = 'pyasic_rs'\n", "miners[0].driver"),
    ],
)
def test_a_library_that_is_not_there_is_one_line(
    tmp_path: Path, text: str, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "pyasic_rs" else name)
    assert cli.main(["check", "--config", str(config_file(tmp_path, text))]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"hashwatt.toml: {key}: pyasic_rs is not installed beside Hashwatt\n"


def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    path = config_file(tmp_path, '[prometheus]\nlisten = "192.0.2.1:9851"\ninsecure = true\n')
    done = hashwatt("check", "--config", str(path))
    assert done.returncode == 2
    assert done.stderr == "hashwatt.toml: prometheus.listen: 192.0.2.1:9851 is no address of this machine\n"


@pytest.mark.parametrize(
    ("web", "said"),
    [
        ("basic_auth_users: {}\n", "is public and has no tls_server_config"),
        ("tls_servr_config: {}\n", "tls_servr_config"),
    ],
)
def test_a_public_listener_needs_a_web_config_that_protects(tmp_path: Path, web: str, said: str) -> None:
    (tmp_path / "web.yml").write_text(web)
    path = config_file(tmp_path, '[prometheus]\nlisten = "0.0.0.0:9851"\nweb_config = "web.yml"\n')
    done = hashwatt("check", "--config", str(path))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("journal", "said"),
    [("", "is a directory"), ("hashwatt.toml/x.db", "hashwatt.toml is not a writable directory")],
)
def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path, journal: str, said: str) -> None:
    path = config_file(tmp_path, f'[prometheus]\nlisten = "127.0.0.1:{free_port()}"\n')
    path.write_text(path.read_text().replace("state/hashwatt.db", journal))
    done = hashwatt("check", "--config", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("hashwatt.toml: journal.path: ")
    assert said in done.stderr


# --- a good file: 0 --------------------------------------------------------------------------------------------------


def test_check_sums_up_a_good_file_and_warns_on_standard_error(tmp_path: Path) -> None:
    path = config_file(
        tmp_path,
        f'[prometheus]\nlisten = "127.0.0.1:{free_port()}"\n'
        "[[miners]]\ntargets = ['10.1.0.0/29', '10.2.0.1']\n[[pdus]]\ntargets = ['10.9.0.1']\n",
    )
    done = hashwatt("check", "--config", str(path))
    assert done.returncode == 0
    assert "7 miner addresses, 1 PDU addresses every 30 s" in done.stdout
    assert "0.06 USD/kWh" in done.stdout
    assert done.stderr.startswith("warning: pdus[0].snmp.community: ")
    assert not (tmp_path / "state").exists(), "check changes nothing"


PRICES = "time,value\n2026-08-20T00:00:00Z,0.05\n2026-08-20T01:00:00Z,0.06\n2026-08-20T05:00:00Z,0.07\n"
AUGUST_20_S = 1_787_184_000.0  # 2026-08-20T00:00:00Z, by `date -d`


@pytest.mark.parametrize(
    ("at_s", "why"),
    [
        (AUGUST_20_S - 1.0, "begin only on 2026-08-20 00:00 UTC"),
        (AUGUST_20_S, None),
        (AUGUST_20_S + 7199.0, None),
        (AUGUST_20_S + 7200.0, "are of other hours, none of them is for now"),
        (AUGUST_20_S + 21_599.0, None),
        (AUGUST_20_S + 21_600.0, "ended on 2026-08-20 06:00 UTC"),
    ],
)
def test_a_price_list_that_says_nothing_of_now_is_a_warning(tmp_path: Path, at_s: float, why: str | None) -> None:
    """Hours 0, 1 and 5 of a day: the shortest distance of two lines is how long each holds."""
    (tmp_path / "prices.csv").write_text(PRICES)
    config = load(config_file(tmp_path, '[tariffs.hosted]\nper_kwh_file = "prices.csv"\n'))
    told = f"tariffs.hosted.per_kwh_file: the prices of prices.csv {why}, so its power has no price now"
    assert preflight.warnings_of_prices(config, at_s) == ([] if why is None else [told])


@pytest.mark.parametrize(
    ("tariff", "is_believed"),
    [
        ('per_kwh_file = "prices.csv"', False),  # 45 USD per kWh: it is a list per MWh
        ('per_mwh_file = "prices.csv"', True),
        ('per_mwh_file = "prices.csv"\nat_most_per_kwh = 0.04', False),
        ('per_mwh_file = "prices.csv"\ncurrency = "EUR"', True),
        ('per_kwh_file = "prices.csv"\ncurrency = "EUR"', False),
    ],
)
def test_a_price_list_that_nobody_can_believe_is_a_warning(tmp_path: Path, tariff: str, is_believed: bool) -> None:
    (tmp_path / "prices.csv").write_text("time,value\n2026-08-20T00:00:00Z,45\n2026-08-20T01:00:00Z,46\n")
    config = load(config_file(tmp_path, f"[tariffs.hosted]\n{tariff}\n[exchange.EUR]\nusd_per_unit = 1.1\n"))
    told = preflight.warnings_of_prices(config, AUGUST_20_S)
    assert len(told) == (not is_believed)
    assert all("the prices of prices.csv are not believed: no kWh costs so much" in each for each in told)


def test_check_warns_of_a_price_list_that_ended(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(PRICES.replace("2026", "2016"))
    path = config_file(tmp_path, f'[prometheus]\nlisten = "127.0.0.1:{free_port()}"\n')
    path.write_text(path.read_text().replace("usd_per_kwh = 0.06", 'per_mwh_file = "prices.csv"'))
    done = hashwatt("check", "--config", str(path))
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == (
        "warning: tariff.per_mwh_file: the prices of prices.csv ended on 2016-08-20 06:00 UTC, "
        "so its power has no price now"
    )


# --- the world failed: 1 ---------------------------------------------------------------------------------------------


def test_status_without_an_agent_is_exit_1(tmp_path: Path) -> None:
    path = config_file(tmp_path, f'[prometheus]\nlisten = "127.0.0.1:{free_port()}"\n')
    done = hashwatt("status", "--config", str(path), COLUMNS="200")
    assert done.returncode == 1
    assert "No status from the agent at http://127.0.0.1:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_watching_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "agent", "status", "--watch", "--url", f"http://127.0.0.1:{free_port()}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert watcher.stdout is not None
    assert "No status" in watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, errors = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert errors == ""


def test_an_internal_error_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(args: object) -> int:
        raise RuntimeError("the\nreason\x1b[2J")

    monkeypatch.setattr(cli, "_check", break_down)
    assert cli.main(["check"]) == 1
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors == "internal error: RuntimeError: the reason [2J (--debug logs where)\n"
    assert cli.main(["check", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "code"), [("_run", 0), ("_once", 1)])
def test_ctrl_c_ends_what_runs_for_ever_well_and_leaves_the_rest_undone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, code: int
) -> None:
    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, command, interrupt)
    assert cli.main([command[1:]]) == code
    assert capsys.readouterr() == ("", "")


def test_an_engine_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "gufo" else name)
    path = config_file(tmp_path, "[[pdus]]\ntargets = ['10.9.0.1']\nsnmp = { engine = 'gufo' }\n")
    assert cli.main(["check", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hashwatt.toml: pdus[0].snmp.engine: gufo_snmp is not installed")
    assert said.count("\n") == 1


# --- probe -----------------------------------------------------------------------------------------------------------

MINER = MinerReading(
    driver="antminer", make="Antminer", model="Antminer S19\x1b[2J", state=OperatingState.MINING,
    hashrate_hs=104.2e12, temperatures=(Temperature(Sensor.BOARD, 0, 61.5),), fans_rpm=(5880.0, None), uptime_s=3600.0,
)  # fmt: skip


def test_probe_prints_every_value_with_its_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("auto", reading=MINER), Finding("snmp", fault=Fault(FaultKind.TIMEOUT, "no answer"))]
    monkeypatch.setattr(probe, "look", _returning(findings))
    assert probe.run("127.0.0.1", None, as_json=False, insecure=False) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "as auto: recognised", "model Antminer S19·[2J", "hashrate 104.20 TH/s", "temperature board 0 61.5 °C",
        "fans 5,880 rpm, –", "uptime 3,600 s", "serial –", "as snmp: timeout (no answer)",
    ):  # fmt: skip
        assert line in lines, line


def test_probe_as_json_leaves_unknown_null(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(probe, "look", _returning([Finding("auto", reading=MINER)]))
    assert probe.run("127.0.0.1", None, as_json=True, insecure=False) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recognised"] is True
    reading = document["findings"][0]["reading"]
    assert reading["hashrate_hs"] == 104.2e12
    assert reading["serial"] is None
    assert reading["temperatures"] == [{"sensor": "board", "index": 0, "celsius": 61.5}]


def _returning(findings: list[Finding]) -> object:
    async def look(*_: object) -> list[Finding]:
        return findings

    return look
