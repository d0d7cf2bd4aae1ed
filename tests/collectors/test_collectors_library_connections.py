"""Every connection of both library engines, written down: whom they dial, what they say, and that nothing of it writes.

Each engine looks at every captured machine, and at three with ill will, in a network namespace where all addresses of
the world lead to the test (`watched_miner.py`). Native code cannot hide there: the packets themselves are read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from watched_miner import STRANGER

from collectors.miners.http import digest_response
from collectors.miners.make import Credential

ENGINES = ("pyasic", "pyasic_rs")
OPERATORS = ("ops", "hall1")
LOGINS = ((), OPERATORS)
NAMES = {(): "nobody", OPERATORS: "operator"}
cases = pytest.mark.parametrize(
    ("engine", "login"),
    [pytest.param(engine, login, id=f"{engine}-{NAMES[login]}") for engine in ENGINES for login in LOGINS],
)

READS_4028 = {
    "version", "devdetails", "summary", "stats", "pools", "devs", "edevs", "estats", "litestats", "status", "coin",
    "get_version", "get_psu", "get_miner_info", "get_error_code", "config", "power", "fans", "temps", "tempctrl",
    "profiles", "events", "limits", "groups", "voltageget", "healthchipget", "tunerstatus", "rate", "warning",
}  # fmt: skip
"""Every question of port 4028 that changes nothing, of all makes."""

WRITES = re.compile(
    r"open_write_api|get_token|set_|update_|power_o|adjust_power|pre_power|reboot|restart|reset|factory|curtail|logon"
    r"|ascset|addpool|removepool|switchpool|enable|disable|profileset|voltageset|frequencyset|fanset|atmset|ledset"
    r"|softo|worklevel|workmode|suspend|resume|pause|stop|start|upgrade|save|quit|privileged|zero|blink|locate=|mutation"
)


@cache
def watched(engine: str, login: tuple[str, ...]) -> dict[str, Any]:
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root, unshare and ip")
    script = str(Path(__file__).with_name("watched_miner.py"))
    words = ["unshare", "-n", sys.executable, script, engine, "2", *login]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no network namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def said(engine: str, login: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, word) for name, words in watched(engine, login)["heard"].items() for word in words]


@cases
def test_nobody_but_the_named_machines_is_dialled(engine: str, login: tuple[str, ...]) -> None:
    """The door of native code is on our own loopback, and is one port."""
    seen = watched(engine, login)
    named = set(seen["addresses"].values())
    others = {(kind, address, port) for kind, address, port in seen["dialled"] if address not in named}
    doors = {(kind, address, port) for kind, address, port in others if (kind, address) == ("tcp", "127.0.0.1")}
    assert others == doors
    assert len(doors) == (engine == "pyasic_rs")
    assert seen["heard"]["a stranger"] == []
    assert {kind for kind, _, _ in seen["dialled"]} == {"tcp"}  # no name is looked up, nobody is pinged
    assert {port for _, address, port in seen["dialled"] if address in named} <= {80, 443, 4028, 4433, 8080}
    assert len(seen["dialled"]) > 30


@pytest.mark.parametrize("engine", ENGINES)
def test_a_redirect_was_offered_and_not_taken(engine: str) -> None:
    seen = watched(engine, ())
    assert any(word.get("path") in ("/summary", "/api/system/info") for word in seen["heard"]["axeos that redirects"])
    assert not any(address == STRANGER for _, address, _ in seen["dialled"])


@pytest.mark.parametrize("engine", ENGINES)
def test_no_login_is_tried_that_nobody_gave(engine: str) -> None:
    for name, word in said(engine, ()):
        assert not word.get("login"), (name, word)
        assert word.get("http") in (None, "GET") or word["path"] == "/graphql", (name, word)
        assert "raw" not in word, (name, word)  # SSH, telnet, gRPC: something was said on their ports


@pytest.mark.parametrize("engine", ENGINES)
def test_every_login_that_is_tried_is_the_operators(engine: str) -> None:
    tried = 0
    for name, word in said(engine, OPERATORS):
        assert "raw" not in word, (name, word)
        if word.get("login"):
            assert is_proof_of(OPERATORS, word), (name, word)
            tried += 1
        elif word.get("http") == "POST" and word["path"] != "/graphql":
            assert all(part in word["body"] for part in OPERATORS) or word["body"] == '{"password":"hall1"}', (
                name,
                word,
            )
            tried += 1
    assert tried > 0


def is_proof_of(login: tuple[str, str], word: dict[str, Any]) -> bool:
    """Whether a digest was computed from this user and password."""
    fields = {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', word["login"])}
    expected = digest_response(
        fields["algorithm"], Credential(*login), fields["realm"], fields["nonce"], word["http"], fields["uri"],
        fields["qop"], int(fields["nc"], 16), fields["cnonce"],
    )  # fmt: skip
    return (fields["username"], fields["response"]) == (login[0], expected)


@cases
def test_no_write_verb_is_sent(engine: str, login: tuple[str, ...]) -> None:
    for name, word in said(engine, login):
        assert not WRITES.search(json.dumps(word).replace("get_blink_status", "")), (name, word)
        if "rpc" in word:
            assert set(str(word["rpc"]).split("+")) <= READS_4028, (name, word)
        if "framed" in word:
            assert word["framed"].startswith("get."), (name, word)


def test_a_refusing_whatsminer_is_not_handed_to_native_code() -> None:
    """Each of its refusals would be answered by `open_write_api`; ours asks who it is and stops there."""
    seen = watched("pyasic_rs", ())
    for name in ("whatsminer that refuses", "whatsminer-v1", "whatsminer-v3"):
        assert {reading["fault"] for reading in seen["readings"][name]} == {"unsupported"}
        assert {word.get("rpc", word.get("framed")) for word in seen["heard"][name]} <= {"version", "get.device.info"}


@pytest.mark.parametrize(
    ("engine", "machines"),
    [
        ("pyasic", {"antminer-stock-2022", "whatsminer-v1", "whatsminer-v3", "luxos-2025.4", "bitaxe-axeos-2.4"}),
        ("pyasic_rs", {"avalon-q-stock", "luxos-2025.4", "bitaxe-axeos-2.4", "epic-powerplay-1.5"}),
    ],
)
def test_the_engines_did_read(engine: str, machines: set[str]) -> None:
    """Else all of the above would be held by silence."""
    readings = watched(engine, ())["readings"]
    assert machines <= {name for name, looks in readings.items() if "make" in looks[-1]}
