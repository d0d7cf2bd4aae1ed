"""`make run`: it comes up by itself, says where to look, shows live numbers, and ends cleanly and quietly."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120.0


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hil.demo", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(stream: IO[str], pattern: str) -> str:
    """Everything up to the first line that matches. Errors: AssertionError at the end of patience or of the stream."""
    seen: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=1.0):
                continue
            chunk = os.read(stream.fileno(), 65536).decode()
            assert chunk, f"it ended after: {''.join(seen)}"
            seen.append(chunk)
            if re.search(pattern, "".join(seen)):
                return "".join(seen)
    raise AssertionError(f"never said {pattern!r}, but: {''.join(seen)}")


def descendants(pid: int) -> set[int]:
    """Processes whose chain of parents leads to `pid`."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_shows_live_numbers_and_ends_without_a_trace(tmp_path: Path, number: int) -> None:
    demo = start("--directory", str(tmp_path / "run"))
    try:
        assert demo.stdout is not None
        said = read_until(demo.stdout, r"(?s)Ready after .*hashprice")
        children = descendants(demo.pid)
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE_S)
    finally:
        if demo.poll() is None:
            demo.kill()
    assert re.search(r"metrics +http://127\.0\.0\.1:\d+/metrics", said)
    assert re.search(r"money +\S+/bin/hashwatt ladder --config \S+/run/hashwatt\.toml\n", said)
    assert "200 machines" in said
    assert (demo.returncode, errors) == (0, "")
    assert len(children) >= 2  # farm and agent at least
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_bad_configuration_is_one_line_and_exit_2(tmp_path: Path) -> None:
    demo = start("--config", str(tmp_path / "nowhere.toml"), "--directory", str(tmp_path / "run"))
    output, errors = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 2
    assert output == ""
    assert len(errors.strip().splitlines()) == 1
    assert "nowhere.toml" in errors


def test_a_mistake_that_only_the_agent_finds_is_told_in_its_words(tmp_path: Path) -> None:
    config = tmp_path / "hashwatt.toml"
    config.write_text('[site]\nname = "x"\n[poll]\nintervall_s = 3\n[prometheus]\nlisten = "127.0.0.1:0"\n')
    demo = start("--config", str(config), "--directory", str(tmp_path / "run"))
    _, errors = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 2
    assert "poll.intervall_s" in errors
    assert "Traceback" not in errors


def test_a_second_one_leaves_the_files_of_the_first_alone(tmp_path: Path) -> None:
    journal = tmp_path / "hashwatt.db"
    journal.write_text("of the one that runs")
    with (tmp_path / ".lock").open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        demo = start("--directory", str(tmp_path))
        output, errors = demo.communicate(timeout=PATIENCE_S)
    assert (demo.returncode, output) == (1, "")
    assert errors == f"Another make run uses {tmp_path}; end it first (Ctrl-C where it runs).\n"
    assert journal.read_text() == "of the one that runs"
