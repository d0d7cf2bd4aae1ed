"""What a scan costs and whether it finds everything: `hashwatt discover` in a network of its own, of which 1 % answers.

    sudo .venv/bin/python -m benchmarks.scan --json            65,536 addresses
    sudo .venv/bin/python -m benchmarks.scan --quick --json    4,096 addresses

Needs root for the network namespace that it makes for itself. In there 127/8 is no longer all local: the addresses of
the emulated machines are, and what is sent to the others goes into a cable whose far end throws it away, so that a
silent address is silent as in a real network. CPU and memory are those of the `hashwatt discover` process alone.
`missed` are machines that were not found, or not with their model, make and MAC. The last line of standard output is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from fleet.site import normalise_mac
from hil.control import FarmProcess
from hil.loopback import addresses
from hil.replies import machine_mac

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 66
FIRST = IPv4Address(f"127.{BLOCK}.0.0")
SHARE = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4,096 addresses")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    parser.add_argument("--connections", type=int, help="as of hashwatt discover")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not options.inside:
        return _again_in_a_network_of_its_own(sys.argv[1:] if argv is None else argv)
    count = 4096 if options.quick else 65_536
    machines = round(count * SHARE)
    _lay_cables(addresses(f"127.{BLOCK}.0.1", machines))
    with FarmProcess("--machines", str(machines), "--pdus", "0", "--block", str(BLOCK), "--boot-s", "0") as farm:
        report = _measure(count, farm.control.truth(), options.connections)
    print(json.dumps(report, indent=None if options.json else 2))
    return 0 if report["missed"] == 0 else 1


def _again_in_a_network_of_its_own(argv: Sequence[str]) -> int:
    command = ["unshare", "--net", sys.executable, "-m", "benchmarks.scan", *argv, "--inside"]
    try:
        may = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0
    except OSError:
        may = False
    if not may:
        print("benchmarks.scan needs root, unshare and ip: it makes a network namespace of its own", file=sys.stderr)
        return 1
    return subprocess.run(command, cwd=ROOT).returncode


def _lay_cables(machines: Iterable[str]) -> None:
    """Machines are local; the rest of their /16 leaves by a cable without ARP, and nobody at its end is meant."""
    _ip(
        "link add gone type veth peer name nobody",
        "link set gone arp off up",
        "link set nobody up",
        "link set lo up",
        "addr add 10.255.255.1/32 dev gone",
        "route del local 127.0.0.0/8 dev lo table local",
        f"route add 127.{BLOCK}.0.0/16 dev gone src 10.255.255.1",
        f"route add local 127.{BLOCK}.254.1/32 dev lo table local src 127.0.0.1",  # feeds; refuses port 4028
        *(f"route add local {host}/32 dev lo table local src 127.0.0.1" for host in machines),
    )


def _ip(*commands: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def _measure(count: int, truth: Mapping[str, Any], connections: int | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "agent", "discover", f"{FIRST}-{FIRST + count - 1}", "--json"]
    command += [] if connections is None else ["--connections", str(connections)]
    started_s = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.read())
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    duration_s = time.monotonic() - started_s
    found = {row["address"]: row for row in document["machines"] if row["make"]}
    wanted = [_expected(row, *pair) for row, pair in enumerate(zip(truth["address"], truth["model"], strict=True))]
    missed = [address for address, *expected in wanted if _said(found.get(address)) != expected]
    if missed:
        print(f"missed: {', '.join(missed[:10])}", file=sys.stderr)
    return {
        "addresses": document["scanned"],
        "answering": len(wanted),
        "found": len(found),
        "missed": len(missed),
        "duration_s": round(duration_s, 1),
        "peak_connections": document["peak_connections"],
        "client_cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_rss_mib": round(used.ru_maxrss / 1024, 1),
    }


def _expected(row: int, address: str, model: str) -> tuple[str, str, str | None, str]:
    """Address, make, MAC and id; only WhatsMiners say their MAC on the port of the API."""
    make = model.partition(" ")[0]
    mac = normalise_mac(machine_mac(row)) if make == "WhatsMiner" else None
    return address, make, mac, mac or "ip-" + address.replace(".", "-")


def _said(row: Mapping[str, Any] | None) -> list[str | None]:
    return [row["make"], row["mac"], row["id"]] if row is not None else []


if __name__ == "__main__":
    sys.exit(main())
