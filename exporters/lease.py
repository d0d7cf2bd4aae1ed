"""The recommendation as bytes: the head, small and renewed, and the plan, which names the machines.

A lease, not an order: a consumer acts only before `valid_until`, only on a schema it knows, and only if the SHA-256 of
the plan parts one after the other is `plan_sha256`. The plan leaves out machines whose action is `run`, so an ordinary
day has an empty one. Units are kW and USD, as the consumers of such messages have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import orjson

from exporters.report import action_counts, published_document
from exporters.wording import ACTIONS, clean, instant, number, numbers, reasons, unique_names
from fleet.curtailment import Action, Decision, Status
from fleet.cycle import Cycle
from fleet.lease import Issue
from fleet.units import WATTS_PER_KW

HEAD_SCHEMA = "curtailment.recommendation/1"
PLAN_SCHEMA = "curtailment.plan/1"
MAX_HEAD_BYTES = 4 * 1024
MAX_PART_BYTES = 64 * 1024

_MAX_SOURCES = 4
_SOURCE_BYTES = 32
_NAME_BYTES = 64


def render_plan(cycle: Cycle) -> tuple[bytes, ...]:
    """The parts of the plan, each a JSON object of at most MAX_PART_BYTES; none when every machine shall run."""
    packs = _packed(_plan_rows(cycle), MAX_PART_BYTES - 512)
    return tuple(
        b'{"schema":%s,"site":%s,"decision_id":%s,"part":%d,"parts":%d,"machines":[%s]}'
        % (
            orjson.dumps(PLAN_SCHEMA), orjson.dumps(clean(cycle.site.name, _NAME_BYTES)),
            orjson.dumps(clean(cycle.decision_id)), part, len(packs), b",".join(rows),
        )
        for part, rows in enumerate(packs)
    )  # fmt: skip


def plan_digest(parts: Sequence[bytes]) -> str:
    """Hex SHA-256 of the parts one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def render_head(cycle: Cycle, issue: Issue, plan: Sequence[bytes]) -> bytes:
    """The head, at most MAX_HEAD_BYTES whatever the fleet is like: it holds counts and sums, no list of machines."""
    decision, valuation = cycle.decision, cycle.valuation
    is_stopped = decision.action == Action.STOP
    return orjson.dumps(
        {
            "schema": HEAD_SCHEMA,
            "site": clean(cycle.site.name, _NAME_BYTES),
            "agent_id": clean(issue.agent_id, _NAME_BYTES),
            "boot_id": clean(issue.boot_id, _NAME_BYTES),
            "seq": issue.seq,
            "decision_id": clean(cycle.decision_id),
            "issued_at": instant(issue.issued_at_s),
            "valid_until": instant(issue.valid_until_s),
            "mode": cycle.policy.mode.value,
            "status": decision.status.value,
            "action": overall_action(decision),
            "target": {
                "site_kw_max": _kw(decision.site_power_w - decision.shed_w),
                "shed_kw": _kw(decision.shed_w),
            },
            "reasons": list(_all_reasons(decision)),
            "inputs": {
                "hashprice_usd_ph_day": number(valuation.hashprice_usd_ph_day),
                "difficulty": number(valuation.difficulty),
                "height": number(valuation.height),
                "avg_reward_btc": number(valuation.reward_btc),
                "btc_usd": number(valuation.btc_usd),
                "btc_usd_raw": number(valuation.btc_usd_raw),
                "published": published_document(valuation.cross_check),
                "power_usd_kwh": number(valuation.power_usd_per_kwh),
                "states": {input.value: state.value for input, state in valuation.states.items()}
                | {"power": valuation.power_state.value},
                "ages_s": {input.value: number(age) for input, age in valuation.ages_s.items()},
                "sources": {
                    input.value: [clean(quote.source, _SOURCE_BYTES) for quote in quotes[:_MAX_SOURCES]]
                    for input, quotes in valuation.used.items()
                }
                | {"power": [clean(valuation.power_source, _SOURCE_BYTES)]},
            },
            "totals": {
                "machines": len(cycle.snapshot),
                "up": int(np.count_nonzero(cycle.snapshot.up == 1.0)),
                "running": int(np.count_nonzero(cycle.snapshot.is_running)),
                "site_kw": _kw(decision.site_power_w),
                "quorum": number(decision.quorum),
                "actions": action_counts(decision.action),
            },
            "economics": {
                "expected_saving_usd_h": _saving_usd_h(cycle),
                "switching_cost_usd": float(np.count_nonzero(is_stopped)) * cycle.policy.stop_start_cost_usd,
            },
            # What a consumer does when no head comes any more: the economic stops end, unless the operator keeps them.
            "failsafe": {
                "on_expiry": "HOLD" if cycle.policy.hold_keep else "RUN",
                "after_s": cycle.policy.hold_release_s,
            },
            "plan_sha256": plan_digest(plan),
            "plan_parts": len(plan),
            "sig": None,
        }
    )


def overall_action(decision: Decision) -> str:
    """RUN, CURTAIL (every machine stops), PARTIAL (some do) or HOLD (no advice) for the whole site."""
    is_stopped = decision.action == Action.STOP
    if is_stopped.any():
        return "CURTAIL" if is_stopped.all() else "PARTIAL"
    is_holding = len(decision.action) > 0 and bool((decision.action == Action.HOLD).all())
    return "HOLD" if is_holding or decision.status in (Status.HOLD, Status.DISABLED) else "RUN"


def _all_reasons(decision: Decision) -> tuple[str, ...]:
    """Why anything is not as usual: of the status, and of every machine that is not advised to run."""
    bits = int(decision.status_reasons)
    chosen = decision.reasons[decision.action != Action.RUN]
    if len(chosen):
        bits |= int(np.bitwise_or.reduce(chosen))
    return reasons(bits)


def _saving_usd_h(cycle: Cycle) -> float | None:
    """What the stops in force save per hour against running; None when there are none or no margin is known."""
    margin = cycle.economics.margin_usd_h[cycle.decision.action == Action.STOP]
    known = margin[np.isfinite(margin)]
    return float(-known.sum()) if len(known) else None


def _kw(watts: float) -> float | None:
    value = number(watts)
    return None if value is None else round(value / WATTS_PER_KW, 3)


def _plan_rows(cycle: Cycle) -> list[bytes]:
    snapshot, money, decision = cycle.snapshot, cycle.economics, cycle.decision
    rows = np.flatnonzero(decision.action != Action.RUN)
    ids = unique_names(snapshot.ids)
    now_w = snapshot.power_w[rows]
    after_w = np.where(decision.action[rows] == Action.STOP, snapshot.standby_w[rows], now_w)
    columns = zip(
        rows.tolist(),
        decision.action[rows].tolist(),
        numbers(np.round(now_w / WATTS_PER_KW, 3)),
        numbers(np.round(after_w / WATTS_PER_KW, 3)),
        numbers(money.margin_usd_h[rows]),
        numbers(money.breakeven_usd_kwh[rows]),
        decision.reasons[rows].tolist(),
        decision.earliest_reversal_s[rows].tolist(),
        strict=True,
    )
    return [
        orjson.dumps(
            {
                "id": ids[row],
                "action": ACTIONS[action],
                "kw_now": kw_now,
                "kw_after": kw_after,
                "margin_usd_h": margin,
                "breakeven_usd_kwh": breakeven,
                "reasons": reasons(why),
                "earliest_reversal": instant(reversal_s),
            }
        )
        for row, action, kw_now, kw_after, margin, breakeven, why, reversal_s in columns
    ]


def _packed(rows: Sequence[bytes], limit: int) -> list[list[bytes]]:
    """Rows in order, in as few packs as fit below `limit` bytes, separators counted."""
    packs: list[list[bytes]] = []
    room = 0
    for row in rows:
        if len(row) + 1 > room:
            packs.append([])
            room = limit
        packs[-1].append(row)
        room -= len(row) + 1
    return packs
