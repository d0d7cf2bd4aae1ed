"""What `make run` starts: a virtual farm, a broker where one is installed, the agent, and its live console view.

Everything is a child process in a session of its own, so that Ctrl-C reaches only us and we end the children in order:
agent, broker, farm. Files go to `run/`, which git does not see. With `--config` there is no farm and no broker: the
agent runs on the operator's own configuration. Two demos at once are fine if they have two directories.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import console
from agent.config import ConfigError, load_neighbour
from agent.running import Unreachable, ask, door_of, url_of
from hil.control import ControlError, FarmProcess, end
from hil.loopback import free_block, free_tcp_port, tcp_listener

ROOT = Path(__file__).parent.parent
USUAL_BLOCK, USUAL_LISTEN, USUAL_MQTT = 20, 9851, 1883
READY_S = 90.0

RECORDINGS = ROOT / "tests" / "captures" / "miners"
OTHER_MAKES = (
    *("luxos-2025.4", "braiins-25.07-rest", "epic-powerplay-1.5", "whatsminer-v3"),
    *("avalon-q-stock", "sealminer-stock-2025", "auradine-fluxos", "proto-1.8-simulator"),
)
"""Recorded machines beside the emulated ones: their numbers stand still."""

OK, WORLD_FAILED, INPUT_WRONG = 0, 1, 2

FARM = (
    *("--machines", "200", "--pdus", "6", "--boot-s", "20", "--warmup-s", "90"),
    *("--mix", "Antminer S19j Pro=0.35", "--mix", "Antminer S19 XP=0.2", "--mix", "Antminer S21=0.35"),
    *("--mix", "WhatsMiner M50=0.1"),
    *("--fault", "hang=0.01", "--fault", "refuse=0.01", "--fault", "silent=0.01", "--fault", "malformed=0.005"),
    # 85,300 USD is where an S19j Pro breaks even at 0.05 USD/kWh: 29.8 J/TH, 5 % overhead, 1.4 % fee and rejects,
    # difficulty 141.67T, 3.145 BTC per block. The price wanders around it, so the old machines turn every few minutes.
    *("--price", "85300", "--walk", "0.03", "--relax-s", "300"),
)
USD_PER_KWH = 0.05
POLICY = {
    # A thousandth of a real turn's cost, and minutes instead of half hours: the demo shows in minutes what takes hours.
    "stop_start_cost_usd": 0.0001,
    "min_up_s": 60.0,
    "min_down_s": 60.0,
    "stop_ramp_s": 60.0,
    "start_ramp_s": 20.0,
    "hold_release_min": 2.0,
}

ECONOMICS = {
    # Between what the two feeders earn: one of them has better machines.
    "alternative_usd_per_kwh": 0.066,
    # Round numbers that make the newest machines worth their places, and the oldest not.
    "keep": {
        "months": 24,
        "uptime_ratio": 0.95,
        "slot_usd_month": 8.0,
        "repair_usd_month": 3.0,
        "labour_usd_month": 2.0,
        "resale_usd_th": 1.5,
        "residual_usd_th": 0.3,
        "discount_per_year": 0.15,
        "hashprice_decline_per_year": 0.2,
        "hashprice_sigma_per_root_year": 0.3,
    },
}


class Failed(Exception):
    """The demo cannot go on; the text is for the user. `code` is the exit code."""

    def __init__(self, text: str, code: int = WORLD_FAILED) -> None:
        super().__init__(text)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.demo", description="Hashwatt at work, live, until Ctrl-C.")
    parser.add_argument("--config", type=Path, metavar="PATH", help="run this farm instead of the virtual one")
    parser.add_argument("--directory", type=Path, default=ROOT / "run", metavar="DIR", help="where its files go")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as children:
            try:
                return _run(args.config, args.directory.absolute(), children)
            finally:
                # From here on another Ctrl-C would only leave children behind.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except KeyboardInterrupt:
        _progress("")
        return OK
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return error.code


def _run(config: Path | None, directory: Path, children: ExitStack) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    _claim(directory, children)
    mqtt_url = None
    if config is None:
        config, mqtt_url = _virtual_site(directory, children)
    try:
        neighbour = load_neighbour(config)
        url, door = url_of(neighbour.listener), door_of(*neighbour)
    except ConfigError as error:
        raise Failed(str(error), INPUT_WRONG) from None
    log = directory / "agent.log"
    command = [sys.executable, "-m", "agent", "run", "--config", str(config.absolute())]
    agent = _spawn(command, log, children)
    _wait_until_ready(door, agent, log)
    _say(f"  status page  {url}/")
    _say(f"  metrics      {url}/metrics")
    if mqtt_url:
        _say(f"  MQTT         {mqtt_url}   (mosquitto_sub -L {mqtt_url}/hashwatt/# -v)")
    _say(f"  files        {directory}  (logs; the virtual farm's configuration, inventory and journal)")
    _say(f"  money        {_near(Path(sys.executable).with_name('hashwatt'))} ladder --config {_near(config)}")
    _say("               the same with worth, and with report --day today; in another terminal")
    _say("  Ctrl-C ends everything.")
    also = (mqtt_url, f"hashwatt ladder, worth, report --config {_near(config)}")
    return _watch(door, agent, log, "   ".join(filter(None, also)))


def _claim(directory: Path, children: ExitStack) -> None:
    """Hold the directory as long as we run. Errors: Failed where another one does: it would lose its journal to us."""
    ours = children.enter_context((directory / ".lock").open("w"))
    try:
        fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failed(f"Another make run uses {directory}; end it first (Ctrl-C where it runs).") from None


def _virtual_site(directory: Path, children: ExitStack) -> tuple[Path, str | None]:
    """Starts farm and broker and writes the site's files; returns the configuration and the broker's URL."""
    _say("Starting a virtual farm: 200 machines and 6 PDUs on 127/8, with market feeds of its own ...")
    for stale in directory.glob("hashwatt.db*"):
        stale.unlink()  # yesterday's advice is about yesterday's farm
    log = directory / "farm.log"
    try:
        output = children.enter_context(log.open("w", encoding="utf-8"))
        block = ("--block", str(free_block(USUAL_BLOCK)))
        others = ("--replay", *(str(RECORDINGS / name) for name in OTHER_MAKES))
        farm = children.enter_context(FarmProcess(*FARM, *block, *others, log=output))
        _say(f"  {len(farm.ready['recorded'])} recorded machines of other makes stand beside them.")
        if left_out := farm.ready["left_out"]:
            _say(f"  Left out, for their ports are below 1024 and only root may open them: {', '.join(left_out)}.")
        mqtt_url = _start_broker(directory, children)
        config = farm.write_site(
            directory,
            name="demo",
            interval_s=5.0,
            poll={"tick_s": 2.0},
            usd_per_kwh=USD_PER_KWH,
            policy=POLICY,
            economics=ECONOMICS,
            listen=f"127.0.0.1:{_usual_or_free(USUAL_LISTEN)}",
            mqtt_url=mqtt_url,
        )
    except (ControlError, OSError) as error:
        raise Failed(f"The virtual farm does not start: {error}\n{_tail(log)}".rstrip()) from None
    return config, mqtt_url


def _start_broker(directory: Path, children: ExitStack) -> str | None:
    """A mosquitto on loopback, or None where none is installed."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        _say("No mosquitto here, so nothing is published over MQTT (`make peers` installs it).")
        return None
    port = _usual_or_free(USUAL_MQTT)
    conf = directory / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="utf-8")
    _spawn([program, "-c", str(conf)], directory / "mosquitto.log", children)
    return f"mqtt://127.0.0.1:{port}"


def _spawn(command: Sequence[str], log: Path, children: ExitStack) -> subprocess.Popen[bytes]:
    output = children.enter_context(log.open("w", encoding="utf-8"))
    process = subprocess.Popen(  # noqa: S603 - programs we chose, no shell
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    children.callback(end, process)
    return process


def _wait_until_ready(url: str, agent: subprocess.Popen[bytes], log: Path) -> None:
    """Until the agent has polled and thought once. Errors: Failed when it ends or takes too long."""
    started = time.monotonic()
    while not _is_ready(url):
        waited = time.monotonic() - started
        if agent.poll() is not None:
            _progress("")
            raise Failed(_tail(log) or f"The agent ended (exit {agent.returncode}).", agent.returncode or 1)
        if waited > READY_S:
            _progress("")
            _say(f"The agent is not ready after {READY_S:.0f} s; see {log}. Showing what it has.")
            return
        _progress(f"Waiting for the first readings ... {waited:.0f} s")
        time.sleep(0.25)
    _progress("")
    _say(f"Ready after {time.monotonic() - started:.1f} s.")


def _is_ready(url: str) -> bool:
    try:
        ask(url, "readyz", 1024)
    except Unreachable:
        return False
    return True


def _watch(url: str, agent: subprocess.Popen[bytes], log: Path, also: str) -> int:
    """The console view until Ctrl-C, or until the agent ends by itself."""
    over = threading.Event()

    def wait_for_agent() -> None:
        agent.wait()
        over.set()

    threading.Thread(target=wait_for_agent, daemon=True).start()
    code = console.watch(url, until=over, also=also)
    if over.is_set() and agent.returncode:
        raise Failed(f"The agent ended (exit {agent.returncode}):\n{_tail(log)}", agent.returncode)
    return code


def _usual_or_free(port: int) -> int:
    """The usual port where nobody has it, else a free one."""
    try:
        tcp_listener("127.0.0.1", port).close()
    except OSError:
        return free_tcp_port()
    return port


def _tail(path: Path, lines: int = 8) -> str:
    return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:]) if path.exists() else ""


def _near(path: Path) -> Path:
    """The same file in fewer letters, where it lies below the directory that we were started in."""
    path, here = path.absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _say(text: str) -> None:
    print(text, flush=True)


def _progress(text: str) -> None:
    """One line that is overwritten; nothing where nobody watches."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{text}")
        sys.stdout.flush()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
