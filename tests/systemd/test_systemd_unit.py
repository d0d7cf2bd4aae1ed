"""The unit file as systemd reads it: no complaint, and little left to attack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "hashwatt.service"
MAX_EXPOSURE = 15  # tenths, as --threshold counts


def directives() -> list[tuple[str, str]]:
    lines = (line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return [tuple(line.split("=", 1)) for line in lines]  # type: ignore[misc]


@pytest.mark.peer("systemd-analyze")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    # verify wants the program to be there; it is installed elsewhere in a checkout
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/hashwatt/bin/hashwatt", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.peer("systemd-analyze")
def test_little_is_left_to_attack() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_what_the_score_does_not_see() -> None:
    """numpy survives the filter; systemd hears only the main process; the agent is never given up."""
    found = directives()
    assert ("SystemCallErrorNumber", "EPERM") in found
    assert ("NotifyAccess", "main") in found
    assert ("Type", "notify") in found
    assert ("WatchdogSec", "30") in found
    assert ("Restart", "always") in found
    assert ("StartLimitIntervalSec", "0") in found
