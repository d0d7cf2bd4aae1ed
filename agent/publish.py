"""The MQTT sink: which messages each cycle is worth, and in which order.

The head goes out whenever the decision, its health or its plan changes, and is renewed well within its lease; plan
parts go out before the head that names their digest. Machine and PDU states follow their own changes, a bounded number
per cycle, so a fleet that wakes up at once fills neither the library's queue nor the broker's. What was not taken is
simply still due in the next cycle. Time is the cycle's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exporters.lease import render_head, render_plan
from exporters.mqtt import (
    Message,
    Told,
    batch_messages,
    head_message,
    machine_messages,
    pdu_messages,
    plan_messages,
    watched_machines,
    watched_pdus,
)
from fleet.cycle import Cycle
from fleet.lease import Issue

RENEW_HEAD_S = 25.0  # a tick of 10 s, a little early or late, then renews every 30 s
REFRESH_S = 600.0
EXPIRY_INTERVALS = 3
BATCH_S = 60.0
STATES_PER_CYCLE = 5000
RESERVED = 1000  # room that states leave to head, plan and batch


class Outlet(Protocol):
    """Where messages go; `agent.broker.Broker` is one."""

    @property
    def session(self) -> int: ...

    @property
    def room(self) -> int: ...

    def send(self, message: Message) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan in force, kept as long as its actions stand: the money in it is that of the turn."""

    decision_id: str
    action: npt.NDArray[np.uint8]
    parts: tuple[bytes, ...]

    def stands(self, cycle: Cycle) -> bool:
        return self.decision_id == cycle.decision_id and np.array_equal(self.action, cycle.decision.action)


class MqttSink:
    """A `fleet.ports.Sink`. `seq` rises with every head of this boot."""

    def __init__(self, outlet: Outlet, *, boot_id: str, agent_id: str = "hashwatt", refresh_s: float = REFRESH_S):
        self._outlet = outlet
        self._boot_id, self._agent_id, self._refresh_s = boot_id, agent_id, refresh_s
        self._seq = 0
        self._parts_told = 0
        self._plan: _Plan | None = None
        self._forget()

    def _forget(self) -> None:
        """The other side may know nothing: everything is due again."""
        self._session = self._outlet.session
        self._machines, self._pdus = Told(), Told()
        self._head_at_s = self._plan_at_s = self._batch_at_s = -math.inf
        self._head_of: tuple[str, str, str, tuple[bytes, ...]] | None = None

    def publish(self, cycle: Cycle) -> None:
        """Send what this cycle is worth; nothing while there is no connection."""
        if self._outlet.session != self._session:
            self._forget()
        if self._outlet.room == 0:
            return
        plan = self._publish_plan(cycle)
        self._publish_head(cycle, plan)
        self._publish_batch(cycle)
        self._publish_states(cycle)

    def _publish_plan(self, cycle: Cycle) -> tuple[bytes, ...]:
        plan = self._plan
        if plan is None or not plan.stands(cycle):
            plan = self._plan = _Plan(cycle.decision_id, cycle.decision.action.copy(), render_plan(cycle))
            self._plan_at_s = -math.inf
        if cycle.at_s - self._plan_at_s >= self._refresh_s:
            messages = plan_messages(cycle.site.name, plan.parts, self._parts_told, EXPIRY_INTERVALS * self._refresh_s)
            if self._send_all(messages):
                self._plan_at_s, self._parts_told = cycle.at_s, len(plan.parts)
        return plan.parts

    def _publish_head(self, cycle: Cycle, plan: tuple[bytes, ...]) -> None:
        head_of = (cycle.decision_id, cycle.decision.status.value, cycle.policy.mode.value, plan)
        if head_of == self._head_of and 0.0 <= cycle.at_s - self._head_at_s < RENEW_HEAD_S:
            return
        self._seq += 1
        issue = Issue(self._boot_id, self._seq, cycle.at_s, cycle.at_s + cycle.policy.lease_s, self._agent_id)
        if self._outlet.send(head_message(cycle.site.name, render_head(cycle, issue, plan), issue)):
            self._head_of, self._head_at_s = head_of, cycle.at_s

    def _publish_batch(self, cycle: Cycle) -> None:
        if cycle.at_s - self._batch_at_s >= BATCH_S:
            self._batch_at_s = cycle.at_s
            self._send_all(batch_messages(cycle, self._boot_id, EXPIRY_INTERVALS * BATCH_S))

    def _publish_states(self, cycle: Cycle) -> None:
        expiry_s = EXPIRY_INTERVALS * self._refresh_s
        for told, ids, watched, render in (
            (self._pdus, cycle.snapshot.pdus.ids, watched_pdus(cycle), pdu_messages),
            (self._machines, cycle.snapshot.ids, watched_machines(cycle), machine_messages),
        ):
            told.fit(ids, watched)
            limit = min(STATES_PER_CYCLE, max(0, self._outlet.room - RESERVED))
            rows = told.due(watched, cycle.at_s, self._refresh_s, limit)
            if len(rows) and self._send_all(render(cycle, rows, self._boot_id, expiry_s)):
                told.note(rows, watched, cycle.at_s)

    def _send_all(self, messages: Iterable[Message]) -> bool:
        """True if every message was taken; stops at the first that was not."""
        return all(self._outlet.send(message) for message in messages)
