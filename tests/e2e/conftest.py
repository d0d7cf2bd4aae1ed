"""The pieces of a story: a farm, an agent and a broker, each a process of its own that ends with the test.

Everything listens on free ports of 127/8, and stories run in seconds: the configuration makes intervals, ramps and
minimum times small, and what is not the operator's to choose is quick: feeds, calibration and appraisal every
second, and five shares say what a machine's work is worth.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families

from hil.control import FarmProcess, end
from hil.loopback import free_block

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
"""For one event. Far beyond what it takes, so that a busy machine fails no test."""

AGENT = """
import sys
from agent import capital, plan, table
table.RECALIBRATE_S = capital.EVERY_S = capital.RETRY_S = 1.0
plan.FEED_INTERVAL_S.update(dict.fromkeys(plan.FEED_INTERVAL_S, 1.0))
from fleet import market, work
market.MEAN_S = 1.0
work.MIN_SHARES = 5.0
from agent.cli import main
sys.exit(main())
"""

POLL = {"tick_s": 1.0}
QUICK = {
    "stop_start_cost_usd": 1e-5,
    "min_up_s": 0.0,
    "min_down_s": 0.0,
    "stop_ramp_ratio": 1.0,
    "stop_ramp_s": 1.0,
    "start_ramp_ratio": 1.0,
    "start_ramp_s": 1.0,
    "lease_s": 30.0,
}
"""A policy that turns within seconds of a loss of fractions of a cent, and the shortest lease there is."""

T = TypeVar("T")


def wait_for(look: Callable[[], T], what: str) -> T:
    """The first true value that `look` gives."""
    end_s = time.monotonic() + DEADLINE_S
    while not (value := look()):
        assert time.monotonic() < end_s, f"never seen: {what}"
        time.sleep(0.1)
    return value


class Page:
    """One scrape: `page[name]` are the samples of that name by their label values in order of the label names."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = tuple(value for _, value in sorted(sample.labels.items()))
                self._samples.setdefault(sample.name, {})[key] = sample.value

    def __getitem__(self, name: str) -> dict[tuple[str, ...], float]:
        return self._samples.get(name, {})

    def machines(self, name: str, value: float | None = None) -> set[str]:
        """Machines that have a series of this name, or one of this value."""
        return {key[0] for key, seen in self[name].items() if value is None or seen == value}

    def advised(self, action: str) -> set[str]:
        return {
            machine for (act, machine), one in self["hashwatt_machine_recommended"].items() if act == action and one
        }


class AgentProcess:
    """A running agent; `log` is what it wrote to standard error."""

    def __init__(self, config: Path) -> None:
        self._log_path = config.with_name("agent.log")
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT, "run", "--config", str(config)],
                cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        listening = wait_for(self._listening, "the line that says where the agent listens")
        self.url = listening[1]
        self.target = self.url.partition("//")[2]

    def _listening(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log
        return re.search(r"listening on (http://127\.0\.0\.1:\d+)", self.log)

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def page(self) -> Page:
        assert self.process.poll() is None, self.log
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=DEADLINE_S) as reply:
            return Page(reply.read().decode())

    def wait_page(self, has: Callable[[Page], Any], what: str) -> Page:
        """The first page of which `has` is true."""
        return wait_for(lambda: page if has(page := self.page()) else None, what)

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/readyz", timeout=DEADLINE_S).close()
        except urllib.error.HTTPError:
            return False
        return True

    def workers(self) -> set[int]:
        """Processes that the agent has started."""
        pid = self.process.pid
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


class Subscriber:
    """An MQTT client that keeps the newest payload of each topic."""

    def __init__(self, port: int, topic: str = "hashwatt/#") -> None:
        self.seen: dict[str, bytes] = {}
        ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = lambda _client, _data, message: self.seen.update({message.topic: message.payload})
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(topic, qos=1)
        self._client.loop_start()
        assert ready.wait(DEADLINE_S)

    def json(self, topic: str) -> Any:
        return json.loads(self.seen.get(topic) or b"null")

    def plan(self, site: str = "hashwatt/virtual") -> dict[str, dict[str, Any]] | None:
        """The rows of the plan in force by machine id, as a consumer may use them: only if the head's digest fits."""
        head = self.json(f"{site}/curtailment/recommendation/v1")
        if head is None:
            return None
        parts = [self.seen.get(f"{site}/curtailment/plan/v1/{i}", b"") for i in range(head["plan_parts"])]
        if hashlib.sha256(b"".join(parts)).hexdigest() != head["plan_sha256"]:
            return None
        return {row["id"]: row for part in parts for row in json.loads(part)["machines"]}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def start_farm() -> Iterator[Callable[..., FarmProcess]]:
    """Starts farms, each in a free block of addresses: `start_farm("--machines", "40")`."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            FarmProcess(*arguments, "--block", str(free_block()), deadline_s=DEADLINE_S)
        )


@pytest.fixture
def start_agent() -> Iterator[Callable[[Path], AgentProcess]]:
    with contextlib.ExitStack() as stack:

        def start(config: Path) -> AgentProcess:
            agent = AgentProcess(config)
            stack.callback(end, agent.process, signals=(signal.SIGTERM,))
            return agent

        yield start


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int) -> Iterator[int]:
    """Port of a real broker; the test needs the mark peer("mosquitto")."""
    from conftest import find_peer

    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {free_port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [find_peer("mosquitto") or "mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _answers(free_port), "a broker that answers")
        yield free_port
    finally:
        end(process)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    with contextlib.ExitStack() as stack:

        def start(port: int, topic: str = "hashwatt/#") -> Subscriber:
            subscriber = Subscriber(port, topic)
            stack.callback(subscriber.close)
            return subscriber

        yield start
