"""What is pinned, for whom, and what the commands do to a gateway."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: ; .*?)?) \\$", re.MULTILINE)


def fold(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[tuple[str, str], str]:
    """(distribution, marker) -> version."""
    return {(fold(dist), marker): version for dist, version, marker in PIN.findall((ROOT / name).read_text())}


def wanted(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {fold(re.split(r"[<>=!~ \[;]", line)[0]) for line in lines}


LOCKS = ("requirements.lock", "requirements-gateway.lock", "requirements-fuzz.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_lock_names_a_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert "--find-links" not in text
    requirements = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(requirements) == len(pins(lock)) > 40
    assert all("--hash=sha256:" in requirement for requirement in requirements)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    assert wanted("test") <= {name for name, _ in pins("requirements.lock")}
    assert wanted() <= {name for name, _ in pins("requirements-gateway.lock")}
    assert wanted("fuzz") <= {name for name, _ in pins("requirements-fuzz.lock")}
    assert wanted("rs") <= wanted("test")


def test_the_gateway_gets_the_same_versions_and_no_tools() -> None:
    everything, gateway = pins("requirements.lock"), pins("requirements-gateway.lock")
    assert gateway.items() <= everything.items()
    assert gateway.items() <= pins("requirements-fuzz.lock").items()
    assert not {"pytest", "mypy", "ruff", "hypothesis", "coverage", "hatchling"} & {name for name, _ in gateway}


def make(*arguments: str) -> str:
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(os.environ.get("REQUIRE_PEERS") != "1", reason="downloads every library: runs in .ci/run")
def test_an_installation_keeps_what_the_operator_wrote(tmp_path: Path) -> None:
    config, state = tmp_path / "etc/hashwatt/hashwatt.toml", tmp_path / "var/lib/hashwatt/hashwatt.db"
    for path in (config, state):
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    old = tmp_path / "opt/hashwatt/lib/of_an_older_version.py"
    old.parent.mkdir(parents=True)
    old.touch()

    make("install", f"DESTDIR={tmp_path}")
    assert not old.exists()
    assert config.read_text() == "mine"
    version = subprocess.run(
        [tmp_path / "opt/hashwatt/bin/hashwatt", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("hashwatt 0.")
    assert (tmp_path / "usr/local/bin/hashwatt").readlink() == Path("/opt/hashwatt/bin/hashwatt")
    unit = (tmp_path / "etc/systemd/system/hashwatt.service").read_text()
    assert unit == (ROOT / "systemd/hashwatt.service").read_text()
    packages = {path.name for path in next((tmp_path / "opt/hashwatt/lib").iterdir()).glob("site-packages/*")}
    assert packages >= {"fleet", "collectors", "exporters", "agent"}
    assert not packages & {"hil", "tests", "pytest", "ruff"}

    config.unlink()
    make("uninstall", f"DESTDIR={tmp_path}")
    assert state.read_text() == "mine"
    assert config.parent.is_dir()
    assert not (tmp_path / "opt/hashwatt").exists()
    assert [path for path in tmp_path.rglob("hashwatt*") if path.is_file() or path.is_symlink()] == [state]


def test_another_prefix_reaches_the_unit() -> None:
    said = make("--dry-run", "install", "prefix=/srv/hw", "configdir=/srv/etc", "DESTDIR=/tmp/x")
    assert "s|/opt/hashwatt|/srv/hw|g; s|/etc/hashwatt|/srv/etc|g" in said
