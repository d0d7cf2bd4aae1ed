"""Every recorded machine is recognised, read, and gives the numbers that a person found in its bytes.

A folder of `tests/captures/miners` is one test case: its replies, and `expected.toml` beside them. The sets of
HASHWATT_CAPTURES carry no manifest of ours, and some are tried without any manifest at all: recordings of others must
be read as they come.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pytest

from collectors import captures
from collectors.captures import Capture, CaptureError, Reply, load, read_capture
from collectors.miners import makes
from collectors.miners.identify import LANDING
from collectors.miners.make import Ask, Via
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, Temperature

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "captures" / "miners"
FRAGMENTS = ROOT / "captures" / "fragments"  # too little to stand in for a machine, enough to be read
SHARED = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent.parent / "shared" / "captures") / "miners"

FREE = {"driver", "way", "pace_s", "warnings"}
"""Fields that say how we read rather than what the machine said: compared only where a person lists them."""


def folders(home: Path) -> list[Path]:
    return sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []


def names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"no recorded miners at {SHARED} and REQUIRE_PEERS=1", pytrace=False)
        pytest.skip(f"no recorded miners at {SHARED}: name the folder above it in HASHWATT_CAPTURES")
    return SHARED


def expected(folder: Path) -> dict[str, Any]:
    """Every field of a reading: what a person wrote down, and for the rest that nothing is there."""
    silent = {f.name: f.default for f in fields(MinerReading) if f.name not in FREE and f.default is not MISSING}
    return {name: comparable(name, value) for name, value in silent.items()} | {
        name: comparable(name, value) for name, value in tomllib.loads((folder / "expected.toml").read_text()).items()
    }


def found(reading: MinerReading, wanted: Iterable[str]) -> dict[str, Any]:
    return {name: comparable(name, getattr(reading, name)) for name in wanted}


def comparable(name: str, value: Any) -> Any:
    """Numbers to nine digits; temperatures, errors and boards in no order."""
    if name == "temperatures":
        rows = [(t.sensor.value, t.index, t.celsius) if isinstance(t, Temperature) else tuple(t) for t in value]
        return sorted((sensor, index, rounded(celsius)) for sensor, index, celsius in rows)
    if name in ("boards", "errors"):
        rows = [row if isinstance(row, dict) else asdict(row) for row in value]
        return sorted((sorted((k, rounded(v)) for k, v in row.items() if v is not None) for row in rows), key=str)
    if name == "presets":
        rows = [row if isinstance(row, dict) else asdict(row) for row in value]
        return [{k: rounded(v) for k, v in row.items() if v is not None} for row in rows]
    if name in ("fans_rpm", "warnings"):
        return [rounded(item) for item in value]
    return rounded(value)


def rounded(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) if isinstance(value, str) else value
    return float(f"{value:.9g}") if math.isfinite(value) else value


# --- the sets ----------------------------------------------------------------------------------------------------


READ = [*folders(OURS), *folders(FRAGMENTS)]


@pytest.mark.parametrize("folder", READ, ids=names(READ))
def test_a_recorded_machine_gives_what_a_person_found_in_its_bytes(folder: Path) -> None:
    wanted = expected(folder)
    assert found(read_capture(load(folder)), wanted) == wanted


@pytest.mark.parametrize("name", names(folders(OURS)))
def test_the_same_without_our_manifest(name: str, shared: Path) -> None:
    """The set as others hand it over: a table of commands above it, no word of ours inside."""
    folder = shared / name
    if not folder.is_dir():
        pytest.skip("recorded by us")
    wanted = expected(OURS / name)
    assert found(read_capture(load(folder)), wanted) == wanted


@pytest.mark.parametrize("folder", READ, ids=names(READ))
def test_the_same_by_the_names_of_the_files_alone(folder: Path, tmp_path: Path) -> None:
    replies = [path for path in folder.iterdir() if path.suffix == ".json"]
    for path in replies:
        shutil.copy(path, tmp_path)
    wanted = expected(folder)
    assert found(read_capture(load(tmp_path)), wanted) == wanted


@pytest.mark.parametrize("name", names(folders(SHARED)))
def test_every_shared_set_is_recognised_and_read(name: str) -> None:
    """Also one that we have never seen."""
    reading = read_capture(load(SHARED / name))
    assert reading.make
    assert reading.hashrate_hs is not None or reading.hashrate_now_hs is not None or reading.state != "unknown"


@pytest.mark.parametrize("name", names(folders(OURS)))
def test_our_copy_of_a_shared_set_is_the_same_byte_for_byte(name: str, shared: Path) -> None:
    replies = {path.name: path.read_bytes() for path in (shared / name).glob("*.json")}
    assert not replies or {path.name: path.read_bytes() for path in (OURS / name).glob("*.json")} == replies


@pytest.mark.parametrize("folder", READ, ids=names(READ))
def test_every_reply_of_a_set_is_used_or_set_aside(folder: Path) -> None:
    """A file that no manifest names would be a recording that nobody reads."""
    capture = load(folder)
    assert {r.file for r in (*capture.replies, *capture.variants)} == {path.name for path in folder.glob("*.json")}


# --- folders of others ---------------------------------------------------------------------------------------------


def put(folder: Path, **files: Path) -> Capture:
    for stem, source in files.items():
        shutil.copy(source, folder / f"{stem}.json")
    return load(folder)


def test_names_with_noise_around_them_are_understood(tmp_path: Path) -> None:
    bitmain = OURS / "antminer-stock-2022"
    capture = put(
        tmp_path,
        s19_rpc_stats_captured=bitmain / "stats.json",
        s19_rpc_summary_captured=bitmain / "summary.json",
        rpc_version_captured=bitmain / "version.json",
    )
    reading = read_capture(capture)
    assert (reading.make, reading.model, reading.hashrate_now_hs) == ("Antminer", "S19 Pro", 110_566.89e9)


@pytest.mark.parametrize("name", ["info", "gamma-601", "api_system_info", "GET_api_system_info"])
@pytest.mark.parametrize(
    "page",
    [
        '{"ASICModel": "BM1370", "hashRate": 1180.4}',
        '{"deviceModel": "NerdQAxe++", "hashRate": 4800.2, "smallCoreCount": 2040}',
    ],
)
def test_a_make_of_one_question_is_read_from_one_file_of_any_name(name: str, page: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.json").write_text(page)
    assert read_capture(load(tmp_path)).hashrate_now_hs in (1180.4e9, 4800.2e9)


def test_joined_commands_and_lists_around_a_reply_are_replies(tmp_path: Path) -> None:
    set_ = OURS / "luxos-2025.4"
    said = {name: json.loads((set_ / f"{name}.json").read_text()) for name in ("summary", "power", "version", "config")}
    (tmp_path / "summary+power.json").write_text(
        json.dumps({"summary": [said["summary"]], "power": said["power"], "id": 1})
    )
    (tmp_path / "version.json").write_text(json.dumps([said["version"]]))
    (tmp_path / "config.json").write_text(json.dumps([said["config"]]))
    reading = read_capture(load(tmp_path))
    assert (reading.model, reading.hashrate_hs, reading.reported_power_w) == ("S19k Pro", 61_589.5e9, 1051.0)


def test_what_lies_beside_the_replies_is_none(tmp_path: Path) -> None:
    shutil.copy(OURS / "antminer-stock-2022" / "stats.json", tmp_path)
    for name in ("README", "README.txt", "LICENSE.txt", "expected.json", ".stats.json", "Manifest.json"):
        (tmp_path / name).write_text('{"ASICModel": "BM1370", "STATUS": "S"}')
    assert names(tmp_path.iterdir()) != ["stats.json"]
    assert [reply.file for reply in load(tmp_path).replies] == ["stats.json"]


def test_one_file_is_a_recording_too() -> None:
    reading = read_capture(load(OURS / "antminer-stock-2022" / "stats.json"))
    assert (reading.make, reading.model) == ("Antminer", "S19 Pro")


def test_one_reply_that_names_its_maker_is_enough_to_know_it(tmp_path: Path) -> None:
    capture = put(tmp_path, stats_captured=OURS / "antminer-stock-2022" / "stats.json")
    assert captures.identified(capture) == "antminer"


def test_a_page_is_no_answer_to_the_command_of_the_same_name(tmp_path: Path) -> None:
    """`stats` over HTTP and over 4028 are different documents of one machine."""
    scrypt = OURS / "elphapex-stock"
    capture = put(
        tmp_path, web_stats_captured=scrypt / "stats.json", rpc_stats=OURS / "sealminer-stock-2025/stats.json"
    )
    page = capture.find(Ask("stats", "/cgi-bin/stats.cgi", via=Via.HTTP, port=80))
    command = capture.find(Ask("stats", "stats"))
    assert page is not None
    assert command is not None
    assert (page.name, command.name) == ("web_stats_captured", "rpc_stats")


def test_a_command_is_no_answer_to_the_page_of_the_same_name(tmp_path: Path) -> None:
    capture = put(tmp_path, summary=OURS / "antminer-stock-2022" / "summary.json")
    assert capture.find(Ask("web_summary", "/cgi-bin/summary.cgi", via=Via.HTTP, port=80)) is None
    assert capture.find(Ask("summary", "summary")) is not None


def test_a_machine_that_asks_for_a_login_says_so_on_its_first_page() -> None:
    page = load(OURS / "elphapex-stock").answer(LANDING)
    assert page.startswith("HTTP/1.1 401")
    assert 'realm="Daoge"' in page


def test_what_was_not_recorded_is_refused_as_the_machine_would() -> None:
    capture = load(OURS / "whatsminer-v1")
    with pytest.raises(PollError) as refused:
        capture.answer(Ask("estats", "estats"))
    assert refused.value.kind is FaultKind.UNSUPPORTED
    with pytest.raises(PollError) as refused:
        capture.answer(Ask("info", "/api/v1/info", via=Via.HTTP, port=80))
    assert refused.value.kind is FaultKind.REFUSED


def test_a_write_is_never_an_answer(tmp_path: Path) -> None:
    shutil.copytree(OURS / "avalon-q-stock", tmp_path, dirs_exist_ok=True)
    (tmp_path / "capture.toml").unlink()
    capture = load(tmp_path)
    assert {reply.name for reply in capture.variants} == {"ascset_softoff", "ascset_softon"}
    assert not any(reply.name.startswith("ascset") for reply in capture.replies)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "holds no reply"),
        ({"capture.toml": "joins = maybe"}, "capture.toml"),
        ({"capture.toml": "[[reply]]\nname='a'\nvia='rpc'\nfile='gone.json'"}, "gone.json"),
        ({"capture.toml": "[[reply]]\nname='a'\nvia='rpc'\nfile='../secret.json'"}, "../secret.json"),
        ({"capture.toml": "[[reply]]\nname='a'\nvia='pigeon'\nfile='a.json'", "a.json": "{}"}, "rpc, framed, http"),
        ({"capture.toml": "[[reply]]\nname='a'"}, "needs name, via and file"),
        ({"capture.toml": "joins = 'yes'"}, "true or false"),
    ],
)
def test_a_folder_that_is_no_capture_says_why(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CaptureError, match=complaint):
        load(tmp_path)


def test_a_machine_that_only_a_library_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "version.json").write_text('{"STATUS":[{"STATUS":"S"}],"VERSION":[{"KDAMiner":"1"}]}')
    with pytest.raises(PollError, match="goldshell"):
        read_capture(load(tmp_path))


def test_rubbish_is_told_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\x00{{{{")
    with pytest.raises(PollError, match="unknown"):
        read_capture(load(tmp_path))


def test_a_reply_answers_the_question_with_its_own_parameter_only() -> None:
    capture = Capture(
        OURS,
        tuple(
            Reply(f"s_{p}", p.encode(), "", via=Via.FRAMED, port=4433, what="get.miner.status", parameter=p)
            for p in ("pools", "summary")
        ),
    )
    ask = Ask("x", "get.miner.status", via=Via.FRAMED, port=4433, parameter="summary")
    assert (reply := capture.find(ask)) is not None
    assert reply.raw == b"summary"


def test_every_make_that_is_read_has_been_recorded_or_says_so_in_the_docs() -> None:
    """A make without a recording rests on what others wrote; docs/devices.md must say that."""
    seen = {captures.identified(load(folder)) for folder in folders(OURS)}
    page = (ROOT.parent / "docs" / "devices.md").read_text()
    for key in makes.KEYS:
        if key not in seen:
            assert f"`{key}`" in page
