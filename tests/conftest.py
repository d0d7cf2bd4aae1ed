"""What every test may lean on: real peers that are there or loudly missing, free ports, and recorded devices."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A gate must say the same twice; at a desk each run still looks elsewhere.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def find_peer(name: str) -> str | None:
    """Path of a peer program; servers live in sbin or in a folder of their version, which a PATH often leaves out."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(
        name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, versions)))
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        name = str(marker.args[0])
        if find_peer(name) is not None:
            continue
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"{name} is not installed and REQUIRE_PEERS=1: run `make peers`", pytrace=False)
        pytest.skip(f"{name} is not installed: run `make peers`")


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def captures_dir() -> Path:
    """Folder of recorded devices; named by HASHWATT_CAPTURES, else beside the checkout. Skips where there is none."""
    folder = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent / "shared" / "captures")
    if not folder.is_dir():
        pytest.skip(f"no recorded devices at {folder}: name the folder in HASHWATT_CAPTURES")
    return folder
