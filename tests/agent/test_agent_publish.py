"""The MQTT sink against an outlet that keeps what it is given: what goes out when, and in which order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

import numpy as np
from cycles import AT_S, make_cycle, small_cycle

from agent.publish import RESERVED, MqttSink
from exporters.mqtt import Message
from fleet.curtailment import Action, Status

HEAD = "hashwatt/north/curtailment/recommendation/v1"
PLAN = "hashwatt/north/curtailment/plan/v1/"


@dataclass
class KeepingOutlet:
    """Takes everything while there is room, and remembers it."""

    session: int = 1
    room: int = 100_000
    sent: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(message)
        return True

    def taken(self, part: str = "") -> list[Message]:
        """What came since the last look, and has `part` in its topic."""
        sent, self.sent = self.sent, []
        return [message for message in sent if part in message.topic]


def at(cycle, seconds):
    return replace(cycle, at_s=AT_S + seconds)


def heads(outlet):
    return [json.loads(message.payload) for message in outlet.taken(HEAD)]


def test_the_plan_goes_out_before_the_head_that_names_it():
    outlet = KeepingOutlet()
    MqttSink(outlet, boot_id="boot-1").publish(small_cycle())
    topics = [message.topic for message in outlet.sent]
    assert topics.index(PLAN + "0") < topics.index(HEAD)
    assert {"hashwatt/north/machines/c3/state", "hashwatt/north/pdus/pdu-1/state",
            "hashwatt/north/batch/machines"} <= set(topics)  # fmt: skip


def test_the_head_is_renewed_within_thirty_seconds_and_expires_with_its_lease():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sent_s = []
    for tick in range(13):
        sink.publish(at(cycle, 10 * tick))
        sent_s += [10 * tick for message in outlet.taken(HEAD) if message.expiry_s == cycle.policy.lease_s]
    assert sent_s == [0, 30, 60, 90, 120]


def test_the_head_is_renewed_when_the_clock_was_set_back():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    outlet.taken()
    sink.publish(at(cycle, -3600))
    assert len(heads(outlet)) == 1


def test_the_head_leaves_at_once_when_decision_or_health_change():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    outlet.taken()
    sink.publish(at(replace(cycle, decision_id="d-2"), 1))
    assert [head["decision_id"] for head in heads(outlet)] == ["d-2"]
    sink.publish(at(replace(cycle, decision_id="d-2", decision=replace(cycle.decision, status=Status.HOLD)), 2))
    assert [(head["status"], head["seq"]) for head in heads(outlet)] == [("hold", 3)]


def test_a_head_follows_a_plan_that_changes_between_decisions():
    # an action may change without a turn: a machine falls silent, and its advice becomes hold
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    outlet.taken()
    all_hold = np.full(3, Action.HOLD, np.uint8)
    sink.publish(at(replace(cycle, decision=replace(cycle.decision, action=all_hold)), 1))
    sent = {message.topic: message.payload for message in outlet.taken()}
    assert json.loads(sent[HEAD])["plan_sha256"] == hashlib.sha256(sent[PLAN + "0"]).hexdigest()


def test_a_plan_is_sent_on_change_and_refreshed_slowly():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sent = []
    for tick in range(70):
        moved = replace(cycle.economics, margin_usd_h=cycle.economics.margin_usd_h - 0.001 * tick)
        sink.publish(at(replace(cycle, economics=moved), 10 * tick))
        sent += [10 * tick for _ in outlet.taken(PLAN)]
    assert sent == [0, 600]  # money moves all the time; the plan is that of the turn


def test_parts_that_are_no_more_are_cleared():
    n = 600
    ids = tuple(f"m{i:04d}-{'x' * 60}" for i in range(n))
    outlet = KeepingOutlet()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(make_cycle(ids, decision={"action": np.full(n, Action.STOP)}))
    parts = len(outlet.taken(PLAN))
    assert parts > 1
    sink.publish(at(make_cycle(ids, decision_id="d-2"), 10))
    assert [(m.topic, m.payload) for m in outlet.taken(PLAN)] == [(f"{PLAN}{part}", b"") for part in range(parts)]


def test_a_head_names_the_plan_that_was_sent():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    first = heads(outlet)
    moved = replace(cycle.economics, margin_usd_h=cycle.economics.margin_usd_h * 2)
    sink.publish(at(replace(cycle, economics=moved), 30))
    assert heads(outlet)[0]["plan_sha256"] == first[0]["plan_sha256"]


def test_states_are_told_once_while_nothing_moves():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    assert len(outlet.taken("/state")) == 4  # three machines, one PDU
    sink.publish(at(cycle, 10))
    assert outlet.taken("/state") == []


def test_states_wait_for_room_and_come_in_a_later_cycle():
    outlet, cycle = KeepingOutlet(room=RESERVED + 5), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)  # plan, head, batch and the PDU leave room for one machine
    first = outlet.taken("machines/")
    outlet.room = 100_000
    sink.publish(at(cycle, 10))
    second = outlet.taken("machines/")
    states = [m.topic for m in (*first, *second) if m.topic.endswith("/state")]
    assert len([m for m in first if m.topic.endswith("/state")]) == 1
    assert sorted(states) == [f"hashwatt/north/machines/{id}/state" for id in ("a1", "b2", "c3")]


def test_nothing_is_sent_without_a_connection_and_only_the_current_head_after_it():
    outlet, cycle = KeepingOutlet(room=0), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    for tick in range(5):
        sink.publish(at(replace(cycle, decision_id=f"d-{tick}"), 10 * tick))
    assert outlet.taken() == []
    outlet.session, outlet.room = 2, 100_000
    sink.publish(at(replace(cycle, decision_id="d-now"), 50))
    assert [head["decision_id"] for head in heads(outlet)] == ["d-now"]


def test_a_new_session_is_told_everything_again():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    sink.publish(cycle)
    first = {message.topic for message in outlet.taken()}
    outlet.session = 2
    sink.publish(at(cycle, 1))
    assert {message.topic for message in outlet.taken()} == first


def test_seq_rises_with_every_head():
    outlet, cycle = KeepingOutlet(), small_cycle()
    sink = MqttSink(outlet, boot_id="boot-1")
    for tick in range(10):
        sink.publish(at(cycle, 10 * tick))
    seqs = [head["seq"] for head in heads(outlet)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 4
