"""The connection against a real mosquitto: what arrives, what later subscribers find, and what they no longer find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, find_peer
from cycles import AT_S, small_cycle
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from agent.broker import Broker, BrokerOptions
from agent.publish import MqttSink
from exporters.mqtt import Message, status_message
from fleet.curtailment import Policy

DEADLINE_S = 20.0
HEAD = "hashwatt/north/curtailment/recommendation/v1"
STATUS = "hashwatt/north/agent/status"


def wait_for(what: Callable[[], object]) -> None:
    """Until `what` is true, long enough that a busy machine does not fail."""
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Subscriber:
    """A client of its own that keeps the newest payload of each topic, and what was retained."""

    def __init__(self, port: int, *topics: str) -> None:
        self.seen: dict[str, bytes] = {}
        self.expiry: dict[str, int] = {}
        self.retained: set[str] = set()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        for topic in topics or ("hashwatt/#",):
            self._client.subscribe(topic, qos=1)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)

    def _on_message(self, _client, _data, message) -> None:
        self.seen[message.topic] = message.payload
        self.expiry[message.topic] = getattr(message.properties, "MessageExpiryInterval", 0)
        if message.retain:
            self.retained.add(message.topic)

    def json(self, topic: str):
        wait_for(lambda: self.seen.get(topic))
        return json.loads(self.seen[topic])

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Mosquitto:
    """A broker on a loopback port that can be stopped and started again."""

    def __init__(self, folder: Path, port: int, *lines: str) -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([f"listener {port} 127.0.0.1", *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [find_peer("mosquitto") or "mosquitto", "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers)

    def _answers(self) -> bool:
        import socket

        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, free_port, "allow_anonymous true")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def subscriber(mosquitto: Mosquitto) -> Iterator[Subscriber]:
    reader = Subscriber(mosquitto.port)
    yield reader
    reader.close()


def make_broker(port: int, **options: str) -> Broker:
    birth, will = (status_message("north", "hashwatt", "boot-1", word, AT_S) for word in ("online", "offline"))
    return Broker(BrokerOptions("127.0.0.1", port, "hashwatt-north", **options), birth=birth, will=will)


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Iterator[Broker]:
    connection = make_broker(mosquitto.port)
    connection.start()
    wait_for(lambda: connection.is_connected)
    yield connection
    connection.stop()


@pytest.mark.peer("mosquitto")
def test_birth_state_head_and_plan_reach_a_subscriber(broker, subscriber):
    MqttSink(broker, boot_id="boot-1").publish(small_cycle())
    assert subscriber.json(STATUS)["status"] == "online"
    assert subscriber.json("hashwatt/north/machines/a1/state")["power_w"] == 3250.0
    assert subscriber.json("hashwatt/north/curtailment/plan/v1/0")["machines"][0]["id"] == "b2"
    assert subscriber.json(HEAD)["seq"] == 1
    assert 0 < subscriber.expiry[HEAD] <= 120
    wait_for(lambda: broker.counts["accepted"] >= 7)
    assert broker.counts["refused"] == 0


def retained(port: int) -> set[str]:
    """Topics that a new subscriber is told. What it asks for last is told last, so nothing is still to come."""
    late = Subscriber(
        port, *(f"hashwatt/north/{room}/#" for room in ("curtailment", "machines", "pdus", "batch")), STATUS
    )
    wait_for(lambda: STATUS in late.seen)
    late.close()
    return late.retained


@pytest.mark.peer("mosquitto")
def test_state_and_lease_are_there_for_who_comes_later_and_the_batch_is_not(broker, mosquitto):
    MqttSink(broker, boot_id="boot-1").publish(small_cycle())
    wait_for(lambda: broker.counts["accepted"] == 8)  # birth, plan, head, batch, three machines, one PDU
    assert retained(mosquitto.port) == {
        STATUS, HEAD, "hashwatt/north/curtailment/plan/v1/0", "hashwatt/north/pdus/pdu-1/state",
        *(f"hashwatt/north/machines/{id}/state" for id in ("a1", "b2", "c3")),
    }  # fmt: skip


@pytest.mark.peer("mosquitto")
def test_a_head_is_gone_when_its_lease_has_run_out(broker, mosquitto):
    cycle = replace(small_cycle(), policy=Policy(lease_s=1.0))
    MqttSink(broker, boot_id="boot-1").publish(cycle)
    wait_for(lambda: broker.counts["accepted"] == 8)
    wait_for(lambda: HEAD not in retained(mosquitto.port))
    assert "hashwatt/north/machines/a1/state" in retained(mosquitto.port)


DYING = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from test_agent_broker import make_broker
broker = make_broker({port})
broker.start()
time.sleep(600)
"""


@pytest.mark.peer("mosquitto")
def test_the_will_says_offline_when_we_are_killed(mosquitto, subscriber):
    code = DYING.format(root=str(ROOT), tests=str(Path(__file__).parent), port=mosquitto.port)
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    try:
        wait_for(lambda: subscriber.seen.get(STATUS))
        assert subscriber.json(STATUS)["status"] == "online"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)
    wait_for(lambda: json.loads(subscriber.seen[STATUS])["status"] == "offline")


@pytest.mark.peer("mosquitto")
def test_a_clean_stop_says_offline_and_clears_nothing_else(mosquitto, subscriber):
    broker = make_broker(mosquitto.port)
    broker.start()
    wait_for(lambda: broker.is_connected)
    MqttSink(broker, boot_id="boot-1").publish(small_cycle())
    subscriber.json(HEAD)
    broker.stop()
    wait_for(lambda: json.loads(subscriber.seen[STATUS])["status"] == "offline")
    assert subscriber.seen[HEAD]
    assert not broker.is_connected


@pytest.mark.peer("mosquitto")
def test_what_was_not_sent_while_the_broker_was_away_is_not_sent_later(mosquitto, broker):
    mosquitto.stop()
    wait_for(lambda: not broker.is_connected)
    first = broker.session
    assert not broker.send(Message(HEAD, b'{"old": true}', expiry_s=120))
    assert broker.room == 0
    assert broker.counts["offline"] == 1
    mosquitto.start()
    subscriber = Subscriber(mosquitto.port)
    wait_for(lambda: broker.session > first)
    assert subscriber.json(STATUS)["status"] == "online"  # the birth of the new connection
    MqttSink(broker, boot_id="boot-1").publish(small_cycle())
    assert subscriber.json(HEAD)["seq"] == 1
    subscriber.close()


@pytest.mark.peer("mosquitto")
def test_a_publication_that_the_broker_does_not_allow_is_counted(tmp_path, free_port):
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {STATUS}\n")
    acl.chmod(0o644)
    tmp_path.chmod(0o755)
    server = Mosquitto(tmp_path, free_port, "allow_anonymous true", f"acl_file {acl}", f"user {_user()}")
    server.start()
    broker = make_broker(free_port)
    try:
        broker.start()
        wait_for(lambda: broker.is_connected)
        assert broker.send(Message(HEAD, b"{}"))
        wait_for(lambda: broker.counts["refused"] == 1)
    finally:
        broker.stop()
        server.stop()


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.peer("mosquitto")
def test_a_topic_that_would_cut_the_link_never_leaves(broker):
    for topic in ("a\0b", "a/+/b", "a/#", ""):
        assert not broker.send(Message(topic, b"x"))
    assert broker.counts["refused"] == 4
    assert broker.is_connected


@pytest.mark.peer("openssl")
@pytest.mark.peer("mosquitto_passwd")
@pytest.mark.peer("mosquitto")
def test_tls_with_a_password_and_a_certificate_that_is_checked(tmp_path, free_port, caplog):
    run = {"check": True, "capture_output": True, "timeout": DEADLINE_S}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem",
         "-out", tmp_path / "cert.pem"],
        **run,
    )  # fmt: skip
    subprocess.run(["mosquitto_passwd", "-c", "-b", tmp_path / "passwords", "north", "secret"], **run)
    lines = (f"certfile {tmp_path / 'cert.pem'}", f"keyfile {tmp_path / 'key.pem'}", f"user {_user()}",
             "allow_anonymous false", f"password_file {tmp_path / 'passwords'}")  # fmt: skip
    server = Mosquitto(tmp_path, free_port, *lines)
    server.start()
    options = BrokerOptions(
        "127.0.0.1", free_port, "x", is_tls=True, username="north", password="secret", ca_file=tmp_path / "cert.pem"
    )
    will = status_message("north", "hashwatt", "boot-1", "offline", AT_S)
    trusted, distrustful, stranger = (
        Broker(chosen, birth=will, will=will)
        for chosen in (options, replace(options, ca_file=None), replace(options, password="wrong", client_id="y"))
    )
    try:
        trusted.start()
        wait_for(lambda: trusted.is_connected)
        distrustful.start()
        wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        stranger.start()
        wait_for(lambda: "the broker refused us: Not authorized" in caplog.text)
        assert trusted.is_connected
        assert "secret" not in caplog.text
    finally:
        for broker in (trusted, distrustful, stranger):
            broker.stop()
        server.stop()


def test_without_a_broker_nothing_raises_and_stop_is_quick(free_port):
    broker = make_broker(free_port)
    broker.start()
    assert not broker.send(Message(HEAD, b"{}"))
    MqttSink(broker, boot_id="boot-1").publish(small_cycle())
    broker.stop()
    assert broker.session == 0


def test_a_certificate_that_cannot_be_read_is_a_failed_connection_and_no_crash(free_port, tmp_path, caplog):
    options = BrokerOptions("127.0.0.1", free_port, "x", is_tls=True, ca_file=tmp_path / "missing.pem")
    will = status_message("north", "hashwatt", "boot-1", "offline", AT_S)
    broker = Broker(options, birth=will, will=will)
    broker.start()
    wait_for(lambda: "trying again" in caplog.text)
    broker.stop()


def test_stop_before_start_does_nothing(free_port):
    make_broker(free_port).stop()
