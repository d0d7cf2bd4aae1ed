"""Freed columns leave the resident memory, also where something small and lasting was allocated behind them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.allocator import LARGE_BYTES

ROOT = Path(__file__).resolve().parents[2]
COLUMNS, COLUMN_BYTES = 200, LARGE_BYTES + 64 * 1024

SCRIPT = f"""
import re, sys
from pathlib import Path

def anonymous():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

if sys.argv[1] == "fixed":
    from agent.allocator import return_large_blocks
    assert return_large_blocks()
big = bytearray(b"x") * (16 * 1024 * 1024)
del big  # glibc's own threshold is 16 MiB from here on
before = anonymous()
columns = [bytearray(b"x") * {COLUMN_BYTES} for _ in range({COLUMNS})]
pin = bytearray(b"x") * 100_000
columns.clear()
print(anonymous() - before)
"""


def held_bytes(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_what_was_freed_is_given_back() -> None:
    assert held_bytes("as it is") > COLUMNS * COLUMN_BYTES // 2  # else the case shows nothing
    assert held_bytes("fixed") < COLUMNS * COLUMN_BYTES // 20
