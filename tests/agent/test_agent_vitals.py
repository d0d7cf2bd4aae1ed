"""What the agent counts about itself, and what systemd hears from it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.vitals import Notifier, Vitals
from exporters import metrics
from exporters.prometheus import render_family


def page(vitals: Vitals, **pids: int) -> dict[str, float]:
    """Sample with labels -> value."""
    text = b"".join(block for family in vitals.families(pids) for block in render_family(family)).decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_polls_are_counted_by_driver_and_outcome_and_fall_into_their_buckets() -> None:
    vitals = Vitals()
    vitals.polled("antminer", "ok", duration_s=0.05, lag_s=0.0)  # an edge belongs to its own bucket: le means <=
    vitals.polled("antminer", "ok", duration_s=0.3, lag_s=0.0)
    vitals.polled("antminer", "timeout", duration_s=99.0, lag_s=0.7)
    vitals.polled("snmp", "ok", duration_s=0.2, lag_s=0.0)
    found = page(vitals)
    assert found['hashwatt_polls_total{driver="antminer",outcome="ok"}'] == 2
    assert found['hashwatt_polls_total{driver="antminer",outcome="timeout"}'] == 1
    bucket = 'hashwatt_poll_duration_seconds_bucket{{driver="antminer",le="{}"}}'
    assert [found[bucket.format(le)] for le in ("0.05", "0.2", "0.5", "30", "+Inf")] == [1, 1, 2, 2, 3]
    assert found['hashwatt_poll_duration_seconds_count{driver="antminer"}'] == 3
    assert found['hashwatt_poll_duration_seconds_sum{driver="antminer"}'] == pytest.approx(99.35)
    assert found['hashwatt_poll_lag_seconds_bucket{driver="antminer",le="0.5"}'] == 2


def test_counters_add_up_and_gauges_follow() -> None:
    vitals = Vitals()
    for _ in range(3):
        vitals.cycle_finished(0.02)
    vitals.count(metrics.SINK_ERRORS, "mqtt")
    vitals.count(metrics.WORKER_RESTARTS, "snmp", by=2)
    vitals.gauge(metrics.STORAGE_OK, 1.0)
    vitals.gauge(metrics.STORAGE_OK, 0.0)
    vitals.gauge(metrics.MQTT_CONNECTED, float("nan"))
    found = page(vitals)
    assert found["hashwatt_cycles_total"] == 3
    assert found['hashwatt_sink_errors_total{sink="mqtt"}'] == 1
    assert found['hashwatt_workers_restarts_total{worker="snmp"}'] == 2
    assert found["hashwatt_storage_ok"] == 0
    assert "hashwatt_mqtt_connected" not in found


def test_processes_are_measured_and_a_gone_one_has_no_series() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    found = page(Vitals(), miners=child.pid)
    child.communicate()
    memory = 'hashwatt_agent_resident_memory_bytes{{process="{}"}}'
    assert 1e6 < found[memory.format("miners")] < found[memory.format("agent")] < 4e9
    assert found['hashwatt_agent_open_files{process="miners"}'] == 3  # its three standard streams
    used = os.times()
    assert found['hashwatt_agent_cpu_seconds_total{process="agent"}'] == pytest.approx(used.user + used.system, abs=0.5)
    assert memory.format("miners") not in page(Vitals(), miners=child.pid)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The receiving end of the notify protocol, under a path and in the abstract namespace."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(10)
    name = str(tmp_path / "notify") if request.param == "path" else f"@hashwatt-test-{os.getpid()}"
    receiver.bind("\0" + name[1:] if name.startswith("@") else name)
    yield name, receiver
    receiver.close()


def test_systemd_hears_ready_progress_and_stopping(
    systemd: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, receiver = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier.from_environment()
    assert notifier.watchdog_s == 30.0
    assert "NOTIFY_SOCKET" not in os.environ, "a worker could speak for us"
    notifier.ready("polling 3 machines\nWATCHDOG=trigger")
    notifier.progress("3 of 3 up")
    notifier.progress()
    notifier.stopping()
    assert [receiver.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=polling 3 machines WATCHDOG=trigger",
        b"STATUS=3 of 3 up\nWATCHDOG=1",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=stopping",
    ]


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("0", ""), ("x", ""), ("30000000", "1")])
def test_no_watchdog_is_fed_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
) -> None:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(10)
    receiver.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    notifier = Notifier.from_environment()
    assert notifier.watchdog_s is None
    notifier.progress()
    notifier.progress("up")
    assert receiver.recv(4096) == b"STATUS=up"
    receiver.close()


def test_without_systemd_and_after_it_has_gone_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier.from_environment().ready("alone")
    Notifier(str(tmp_path / "gone"), 30.0).progress()
