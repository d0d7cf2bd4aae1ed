"""Head and plan: what a consumer needs, sizes, and the digest that ties them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from cycles import AT_S, NAN, make_cycle, small_cycle

from exporters.lease import MAX_HEAD_BYTES, MAX_PART_BYTES, overall_action, render_head, render_plan
from fleet.curtailment import Action, Status, Why
from fleet.lease import Issue

ISSUE = Issue("boot-1", 7, AT_S, AT_S + 120)
ALL_REASONS = (1 << len(Why)) - 1


def big_cycle(n: int):
    """Every machine is stopped, each for other reasons, under names as long as they may be."""
    reasons = np.random.default_rng(1).integers(1, ALL_REASONS, n)
    ids = tuple(f"{i:06d}-{'site-and-container-and-rack' * 4}" for i in range(n))
    return make_cycle(
        ids,
        site="ж" * 200,
        decision_id="d" * 64,
        snapshot={"power_w": np.full(n, 3250.0), "standby_w": np.full(n, 20.0)},
        economics={"margin_usd_h": np.linspace(-1, 0, n), "breakeven_usd_kwh": np.full(n, 0.0366)},
        decision={
            "action": np.full(n, Action.STOP), "reasons": reasons, "status_reasons": Why(ALL_REASONS),
            "earliest_reversal_s": np.full(n, AT_S + 900), "site_power_w": 1e9, "shed_w": 1e9,
        },
    )  # fmt: skip


def test_the_head_says_what_a_consumer_needs():
    cycle = small_cycle()
    plan = render_plan(cycle)
    head = json.loads(render_head(cycle, ISSUE, plan))
    assert head["schema"] == "curtailment.recommendation/1"
    assert (head["boot_id"], head["seq"], head["decision_id"]) == ("boot-1", 7, "d-1")
    assert (head["issued_at"], head["valid_until"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:02:00.000Z")
    assert (head["mode"], head["status"], head["action"]) == ("advisory", "ok", "PARTIAL")
    assert head["target"] == {"site_kw_max": 3.25, "shed_kw": 3.4}  # 6.65 kW run, 3.4 kW are given up
    assert head["reasons"] == ["MARGIN_NEGATIVE", "MIN_DOWN"]  # of the stopped machine, not of the one that runs
    assert head["inputs"]["hashprice_usd_ph_day"] == 31.5
    assert head["inputs"]["ages_s"]["btc_usd"] == 7.0
    assert head["inputs"]["sources"]["btc_usd"] == ["coinbase", "kraken"]
    assert head["economics"] == {"expected_saving_usd_h": 0.1125, "switching_cost_usd": 0.1}
    assert head["failsafe"] == {"on_expiry": "RUN", "after_s": 900.0}
    assert head["totals"]["actions"] == {"run": 2, "stop": 1, "preset": 0, "hold": 0}
    assert head["plan_sha256"] == hashlib.sha256(b"".join(plan)).hexdigest()
    assert head["plan_parts"] == 1
    assert head["sig"] is None


def test_the_plan_names_only_machines_that_shall_not_run():
    (part,) = render_plan(small_cycle())
    document = json.loads(part)
    assert (document["part"], document["parts"], document["decision_id"]) == (0, 1, "d-1")
    assert document["machines"] == [
        {
            "id": "b2", "action": "stop", "kw_now": 3.4, "kw_after": None, "margin_usd_h": -0.1125,
            "breakeven_usd_kwh": 0.0385, "reasons": ["MARGIN_NEGATIVE", "MIN_DOWN"],
            "earliest_reversal": "2027-01-15T08:15:00.000Z",
        }
    ]  # fmt: skip


def test_an_ordinary_day_has_an_empty_plan_and_the_digest_of_nothing():
    cycle = make_cycle(("a", "b"))
    assert render_plan(cycle) == ()
    head = json.loads(render_head(cycle, ISSUE, ()))
    assert head["plan_sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (head["action"], head["plan_parts"], head["reasons"]) == ("RUN", 0, [])
    assert head["economics"]["expected_saving_usd_h"] is None


def test_sizes_hold_for_ten_thousand_machines_with_reasons_of_their_own():
    cycle = big_cycle(10_000)
    plan = render_plan(cycle)
    assert len(render_head(cycle, ISSUE, plan)) <= MAX_HEAD_BYTES
    assert max(map(len, plan)) <= MAX_PART_BYTES
    ids = [machine["id"] for part in plan for machine in json.loads(part)["machines"]]
    assert ids == list(cycle.snapshot.ids)
    assert {json.loads(part)["parts"] for part in plan} == {len(plan)}


def test_nothing_unknown_is_printed_as_a_number():
    cycle = make_cycle(
        ("a",),
        decision={"action": [Action.STOP], "site_power_w": NAN, "shed_w": NAN, "quorum": NAN, "status": Status.HOLD},
        valuation={"hashprice_usd_ph_day": NAN, "btc_usd": NAN, "difficulty": NAN, "used": {}, "ages_s": {}},
    )
    head = json.loads(render_head(cycle, ISSUE, render_plan(cycle)), parse_constant=pytest.fail)
    assert head["target"] == {"site_kw_max": None, "shed_kw": None}
    assert head["inputs"]["hashprice_usd_ph_day"] is None


@pytest.mark.parametrize(
    ("actions", "status", "expected"),
    [
        ([Action.RUN, Action.RUN], Status.OK, "RUN"),
        ([Action.RUN, Action.STOP], Status.OK, "PARTIAL"),
        ([Action.STOP, Action.STOP], Status.OK, "CURTAIL"),
        ([Action.RUN, Action.STOP], Status.HOLD, "PARTIAL"),  # a stop in force stays one in hold
        ([Action.HOLD, Action.HOLD], Status.OK, "HOLD"),
        ([Action.RUN, Action.HOLD], Status.OK, "RUN"),
        ([Action.RUN, Action.RUN], Status.HOLD, "HOLD"),
        ([Action.RUN, Action.RUN], Status.DISABLED, "HOLD"),
        ([], Status.OK, "RUN"),
    ],
)
def test_the_action_for_the_whole_site(actions, status, expected):
    ids = tuple(f"m{i}" for i in range(len(actions)))
    assert overall_action(make_cycle(ids, decision={"action": actions, "status": status}).decision) == expected
