"""The same captured replies through every engine: ours, pyasic and pyasic_rs. Where they differ is written down.

`tests/captures/engines.toml` holds, by capture, who reads it, what only one side tells, and every field on which two
contradict each other, with the values, whom we believe and why. A difference that is not written there fails here, and
so does one that is written there and is no more: libraries change, and so do we.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hil.loopback import addresses

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = ROOT / "tests" / "captures" / "miners"
RECORD = ROOT / "tests" / "captures" / "engines.toml"
FIRST_HOST = f"127.61.{os.getpid() % 256}.1"
"""Of this process: tests run side by side, and the ports of the machines are always the same."""

OURS, LIBRARIES = "auto", ("pyasic", "pyasic_rs")
NOT_COMPARED = {
    "driver", "way", "warnings", "pace_s", "boards", "hashrate_key", "power_key",  # each engine's own words
}  # fmt: skip

# What the libraries need to know a machine and the captures lack: first pages, and the models of a WhatsMiner.
LANDINGS = {
    "bitaxe-axeos-2.4": "<title>AxeOS</title>",
    "braiins-25.07-rest": "<title>Braiins OS</title>",
    "epic-powerplay-1.5": "<title>Miner Web Dashboard</title>",
    "proto-1.8-simulator": "<title>Proto OS</title>",
}
DEVDETAILS = {
    "STATUS": [{"STATUS": "S", "When": 1, "Code": 69, "Msg": "Device Details", "Description": "cgminer 4.9.2"}],
    "DEVDETAILS": [
        {"DEVDETAILS": i, "ID": i, "Name": "SM", "Driver": "bitmicro", "Model": "M20S_V10"} for i in range(3)
    ],
    "id": 1,
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines have pages on port 80, which only root may open")


def captures() -> list[str]:
    return sorted(path.parent.name for path in CAPTURES.glob("*/capture.toml"))


@contextmanager
def replayed() -> Iterator[dict[str, str]]:
    """Every captured machine on sockets of its own address; name -> host."""
    with TemporaryDirectory() as folder:
        copies = [Path(shutil.copytree(CAPTURES / name, Path(folder) / name)) for name in captures()]
        for copy in copies:
            _complete(copy)
        command = [sys.executable, "-m", "hil.replay", *map(str, copies), "--host", FIRST_HOST]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                for _ in copies:
                    assert json.loads(process.stdout.readline())["ready"]
                yield dict(zip(captures(), addresses(FIRST_HOST, len(copies)), strict=True))
            finally:
                process.terminate()


def _complete(copy: Path) -> None:
    with (copy / "capture.toml").open("a") as capture:
        if landing := LANDINGS.get(copy.name):
            (copy / "landing.html").write_text(landing)
            capture.write(
                '\n[[reply]]\nname="landing"\nvia="http"\nport=80\nmethod="GET"\nwhat="/"\nfile="landing.html"\n'
            )
        if copy.name == "whatsminer-v1":
            (copy / "devdetails.json").write_text(json.dumps(DEVDETAILS))
            capture.write(
                '\n[[reply]]\nname="devdetails"\nvia="rpc"\nport=4028\nwhat="devdetails"\nfile="devdetails.json"\n'
            )


@cache
def readings() -> dict[str, dict[str, dict[str, Any]]]:
    """Capture -> engine -> what it read."""
    with replayed() as hosts:
        found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in hosts}
        for engine in (OURS, *LIBRARIES):
            command = [sys.executable, str(Path(__file__).with_name("engine_readings.py")), engine, *hosts.values()]
            done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
            by_host = json.loads(done.stdout)
            for name, host in hosts.items():
                found[name][engine] = by_host[host]
    return found


def told(reading: dict[str, Any]) -> dict[str, Any]:
    """The fields that an engine tells; temperatures by sensor and place, errors by their codes."""
    fields = {name: value for name, value in reading.items() if name not in NOT_COMPARED}
    for one in fields.pop("temperatures"):
        fields[f"temperature {one['sensor']} {one['index']}"] = one["celsius"]
    fields["errors"] = sorted(error["code"] for error in fields["errors"])
    return {name: value for name, value in fields.items() if value not in (None, [], "unknown")}


def is_same(one: Any, other: Any) -> bool:
    """`nan` is how the record writes a place in a list where nothing is told."""
    one, other = (None if value != value else value for value in (one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def compared(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How a library's reading differs from ours, in the shape of the record."""
    if "fault" in other:
        return {"reads": False}
    mine, its = told(ours), told(other)
    return {
        "reads": True,
        "only_ours": sorted(mine.keys() - its.keys()),
        "only_it": sorted(its.keys() - mine.keys()),
        "differs": {
            name: [mine[name], its[name]]
            for name in sorted(mine.keys() & its.keys())
            if not is_same(mine[name], its[name])
        },
    }


def recorded() -> dict[str, dict[str, Any]]:
    return tomllib.loads(RECORD.read_text())


@pytest.mark.parametrize("engine", LIBRARIES)
@pytest.mark.parametrize("capture", captures())
def test_the_engines_differ_where_it_is_written_and_nowhere_else(capture: str, engine: str) -> None:
    found = readings()[capture]
    assert "fault" not in found[OURS], "ours reads every capture"
    now, written = compared(found[OURS], found[engine]), recorded()[capture][engine]
    assert now["reads"] == written["reads"]
    if not now["reads"]:
        return
    assert now["only_ours"] == sorted(written["only_ours"])
    assert now["only_it"] == sorted(written["only_it"])
    lines = written.get("differs", {})
    assert now["differs"].keys() == lines.keys()
    for field, (ours, its) in now["differs"].items():
        line = lines[field]
        assert is_same(ours, line["ours"]), field
        assert is_same(its, line["its"]), field


def test_every_difference_says_whom_we_believe_and_why() -> None:
    for capture, engines in recorded().items():
        for engine in LIBRARIES:
            for field, line in engines[engine].get("differs", {}).items():
                assert line["believe"] in ("ours", "its", "neither", "both"), (capture, engine, field)
                assert len(line["why"]) > 10, (capture, engine, field)
            if not engines[engine]["reads"]:
                assert engines[engine]["why"], (capture, engine)


def test_the_record_has_every_capture() -> None:
    assert sorted(recorded()) == captures()
