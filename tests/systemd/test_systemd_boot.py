"""The service under a real systemd: start, credential, private state, a hang that the watchdog ends, a clean stop.

A container boots from an overlay of this machine's own root, so nothing is downloaded and nothing outside a temporary
folder changes. The unit file is the one that is installed; only a drop-in says where this checkout's packages are, that
the watchdog is quicker, and which credential to load. A checker inside writes what it found and switches off.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOOT_S = 150

pytestmark = [
    pytest.mark.peer("systemd-nspawn"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a container needs root"),
    pytest.mark.skipif(importlib.util.find_spec("agent.wiring") is None, reason="there is no agent to run yet"),
]

LAUNCHER = "#!/opt/hashwatt/bin/python\nimport sys\nfrom agent.cli import main\nsys.exit(main())\n"

DROP_IN = """
[Service]
Environment=PYTHONPATH=/opt/checkout LD_LIBRARY_PATH=/opt/python/lib
WatchdogSec=8
RestartSec=1
LoadCredential=hall1.pw:/etc/hashwatt/secrets/hall1.pw
"""

# A tick of a second feeds the watchdog; the password is only among the credentials; the market is fixed.
CONFIG = """
[site]
name = "boot"
[credentials.hall1]
password_file = "hall1.pw"
[poll]
interval_s = 5
tick_s = 1
[[miners]]
targets = ["127.0.0.2"]
credential = "hall1"
[market.fixed]
btc_usd = 70000.0
difficulty = 141.67e12
block_fees_btc = 0.02
height = 935140
[tariff]
usd_per_kwh = 0.06
"""

TARGET = """
[Unit]
Requires=basic.target hashwatt.service checker.service
After=basic.target
AllowIsolate=yes
"""

CHECKER = """
[Unit]
After=hashwatt.service
[Service]
Type=oneshot
TimeoutStartSec=120
ExecStart=/opt/python/bin/{python} /run/t/checker.py
StandardOutput=file:/run/t/checker.log
StandardError=file:/run/t/checker.log
ExecStopPost=/usr/bin/systemctl --no-block poweroff
"""

CHECKER_PY = """
import atexit, json, os, pathlib, signal, subprocess, time, urllib.error, urllib.request

found = {}

def note(**what):
    found.update(what)
    pathlib.Path("/run/t/found.json").write_text(json.dumps(found))

def run(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()

def show(*names):
    rows = run("systemctl", "show", "hashwatt", "-p", ",".join(names)).splitlines()
    return dict(row.split("=", 1) for row in rows)

def get(path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:9851" + path, timeout=5) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
    except OSError as error:
        return [0, str(error)]

def wait_for(is_true, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_true():
        time.sleep(0.2)
    return is_true()

def is_ready():
    return get("/readyz")[0] == 200

atexit.register(lambda: note(log=run("journalctl", "-u", "hashwatt", "-o", "cat", "--no-pager")))
note(ready=wait_for(is_ready), first=show("ActiveState", "MainPID", "NRestarts", "StatusText"))
pid = int(found["first"]["MainPID"])
state = pathlib.Path("/var/lib/hashwatt")
note(
    uid=os.stat(f"/proc/{pid}").st_uid,
    state=sorted(path.name for path in state.iterdir()),
    state_uid=(state / "hashwatt.db").stat().st_uid,
    is_root_read_only=any(
        line.split()[4] == "/" and "ro" in line.split()[5].split(",")
        for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    ),
    seccomp=[line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith("Seccomp:")],
    metrics=get("/metrics")[1],
    inode=(state / "hashwatt.db").stat().st_ino,
)
os.kill(pid, signal.SIGSTOP)
note(restarted=wait_for(lambda: show("NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"}))
note(ready_again=wait_for(is_ready), inode_again=(state / "hashwatt.db").stat().st_ino)
note(state_again=sorted(path.name for path in state.iterdir()))
run("systemctl", "stop", "hashwatt")
note(stopped=show("ActiveState", "Result", "ExecMainStatus"))
"""


@contextmanager
def overlay_of_root(folder: Path) -> Iterator[Path]:
    """A writable copy of / that costs nothing, with /opt/hashwatt and the configuration already in it."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    try:
        for name in ("up", "work", "merged"):
            (folder / name).mkdir()
        lay_out(folder / "up")
        options = f"lowerdir=/,upperdir={folder / 'up'},workdir={folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "merged"], check=True)
        try:
            yield folder / "merged"
        finally:
            subprocess.run(["umount", folder / "merged"], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def lay_out(root: Path) -> None:
    """What `make install` would have put on a gateway, with this checkout's Python and packages."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = root / "opt/hashwatt/lib" / python / "site-packages"
    for path in (root / "opt/hashwatt/bin", library, root / "opt/python", root / "opt/checkout"):
        path.mkdir(parents=True, mode=0o755)
    (root / "opt/hashwatt/pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (root / "opt/hashwatt/bin/python").symlink_to(f"/opt/python/bin/{python}")
    launcher = root / "opt/hashwatt/bin/hashwatt"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    secrets = root / "etc/hashwatt/secrets"
    secrets.mkdir(parents=True, mode=0o755)
    (root / "etc/hashwatt/hashwatt.toml").write_text(CONFIG)
    (secrets / "hall1.pw").write_text("only root reads this\n")
    secrets.chmod(0o700)
    for path in (root / "opt", root / "etc", root / "etc/hashwatt"):
        path.chmod(0o755)


def boot(tmp_path: Path) -> Path:
    """Boot, wait for the machine to switch itself off; returns the folder in which the checker left its findings."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    units = {
        "boot-test.target": TARGET,
        "checker.service": CHECKER.format(python=python),
        "hashwatt.service": (ROOT / "systemd/hashwatt.service").read_text(),
        "hashwatt.service.d/boot.conf": DROP_IN,
    }
    share = tmp_path / "share"
    share.mkdir()
    binds = [f"--bind={share}:/run/t"]
    for name, text in units.items():
        path = tmp_path / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        binds.append(f"--bind-ro={path}:/etc/systemd/system/{name}")
    (share / "checker.py").write_text(CHECKER_PY)
    site_packages = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    binds += [
        f"--bind-ro={sys.base_prefix}:/opt/python",
        f"--bind-ro={site_packages}:/opt/hashwatt/lib/{python}/site-packages",
        f"--bind-ro={ROOT}:/opt/checkout",
    ]
    disk = tmp_path / "disk"
    disk.mkdir()
    with overlay_of_root(disk) as root, (share / "console.log").open("wb") as console:
        command = [
            "systemd-nspawn", "--quiet", "-D", str(root), "--boot", "--register=no", "--keep-unit", "--private-network",
            "--resolv-conf=off", "--link-journal=no", "--machine=hashwatt-boot-test", *binds,
            "systemd.unit=boot-test.target",
        ]  # fmt: skip
        # nspawn switches the container off at SIGTERM, which is what an end of patience sends first
        subprocess.run(
            ["timeout", "--kill-after=20", str(BOOT_S), *command],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    return share


def test_the_service_lives_under_a_real_systemd(tmp_path: Path) -> None:
    share = boot(tmp_path)
    log = "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(share.glob("*.log")))
    report = share / "found.json"
    assert report.exists(), log
    found = json.loads(report.read_text())
    story = json.dumps(found, indent=1) + log
    assert found["ready"], story  # the credential was there: without it the configuration is refused
    assert found["first"]["ActiveState"] == "active"
    assert found["first"]["NRestarts"] == "0", story
    assert found["first"]["StatusText"], story
    assert 61184 <= found["uid"] <= 65519, "not a dynamic user"
    assert "hashwatt.db" in found["state"]
    assert found["state_uid"] == found["uid"]
    assert found["is_root_read_only"]
    assert found["seccomp"] == ["2"]
    assert "hashwatt_agent_resident_memory_bytes" in found["metrics"], story
    assert found["restarted"], story
    assert found["ready_again"], story
    assert found["inode_again"] == found["inode"], "the journal did not outlive the restart"
    assert not [name for name in found["state_again"] if "corrupt" in name]
    assert "Watchdog timeout" in found["log"], story
    assert found["stopped"] == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, story
