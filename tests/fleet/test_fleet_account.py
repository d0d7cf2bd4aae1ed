"""The account of cycles made by hand, item by item, and what must hold for any cycles at all."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import UTC
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from cycles import NAN, make_cycle, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger import UNIT, Ledger

from fleet.account import (
    COLUMN,
    ITEMS,
    UNITS,
    Account,
    PriceSpan,
    Roster,
    Sheet,
    Span,
    arranged,
    blank,
    book,
    reopened,
    roster_of,
    settle,
    total,
)
from fleet.curtailment import Action
from fleet.cycle import Cycle
from fleet.localtime import hour_around_s, zone_of
from fleet.market import InputState
from fleet.readings import OperatingState, PowerSource
from fleet.site import EconomicTerms, Machine
from fleet.snapshot import STATE_CODES, WORK_SLOTS, MachineInfo
from fleet.tariff import PowerPrice

HOUR_S = 1_800_000_000.0 // 3600 * 3600
SITE_PRICE = PowerPrice("", 0.05, "flat", InputState.FRESH)
ACCEPTED, REJECTED = WORK_SLOTS.index("difficulty_accepted"), WORK_SLOTS.index("difficulty_rejected")


def one(at_s: float = HOUR_S, /, hashprice: float = 40.0, action: int = Action.RUN, **columns: Any) -> Cycle:
    """A cycle of one machine that runs at 100 TH/s and 3000 W of its own word; no fee, no losses."""
    told: dict[str, Any] = {
        "up": 1.0, "is_running": True, "hashrate_hs": 100e12, "power_w": 3000.0, "power_source": PowerSource.REPORTED,
        "state": STATE_CODES[OperatingState.MINING], "is_sha256": True, "is_expected_pool": True,
        "power_if_running_w": 3000.0,
    } | columns  # fmt: skip
    work = {"work_total": np.full((1, len(WORK_SLOTS)), NAN)} | {
        name: column for name, column in told.items() if name == "work_total"
    }
    cycle = make_cycle(
        ("m0",),
        snapshot={name: [value] for name, value in told.items() if name != "work_total"} | work,
        decision={"action": [action]},
        valuation={"hashprice_usd_ph_day": hashprice},
        at_s=at_s,
    )
    site = replace(cycle.site, terms=EconomicTerms(pool_fee=0.0, reject=0.0, overhead=0.0))
    return replace(cycle, site=site, power=(SITE_PRICE,))


def later(cycle: Cycle, seconds: float) -> Cycle:
    return replace(cycle, at_s=cycle.at_s + seconds)


def booked(*cycles: Cycle, start_s: float = HOUR_S) -> Account:
    """The account of the hour after these cycles."""
    sheet = blank(start_s, start_s + 3600.0, roster_of(cycles[0]))
    for before, after in pairwise(cycles):
        book(sheet, before, after)
    return settle(sheet)


def amounts(account: Account, row: int = 0) -> dict[str, float]:
    """What is not zero."""
    return {
        item.name: float(account.amount(item.name)[row]) for item in ITEMS if account.counts[row, COLUMN[item.name]]
    }


def test_a_minute_of_a_machine_that_runs() -> None:
    cycle = one()
    assert amounts(booked(cycle, later(cycle, 60.0))) == pytest.approx({
        "reached_s": 60.0, "running_s": 60.0, "hashrate_s": 60.0, "covered_s": 60.0, "priced_s": 60.0,
        "hashes": 6e15, "energy_j": 180_000.0, "priced_j": 180_000.0,
        "revenue_usd": 40.0 * 0.1 / 1440,  # a tenth of a PH/s for a minute
        "cost_usd": 3.0 * 0.05 / 60,
    }, rel=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param({"action": Action.STOP}, {"stopped_s": 60.0}, id="the advice was to stop"),
        pytest.param({"up": 0.0}, {"reached_s": 0.0}, id="its last poll failed"),
        pytest.param({"up": NAN}, {"reached_s": 0.0}, id="never polled"),
        pytest.param({"power_source": PowerSource.METERED}, {"metered_j": 180_000.0}, id="a meter of its own"),
        pytest.param({"power_source": PowerSource.SHARED}, {"metered_j": 180_000.0}, id="its part of a meter"),
        pytest.param(
            {"power_w": NAN},
            {"covered_s": 0.0, "energy_j": 0.0, "priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0,
             "unpriced_revenue_usd": 4.0 / 1440},
            id="no watts: its revenue is not priced",
        ),
        pytest.param(
            {"hashprice": NAN},
            {"priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0, "unpriced_cost_usd": 0.0025,
             "hashrate_s": 60.0},
            id="no market",
        ),
        pytest.param(
            {"is_sha256": False},
            {"priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0, "unpriced_cost_usd": 0.0025},
            id="not SHA-256",
        ),
        pytest.param(
            {"is_expected_pool": False},
            {"priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0, "unpriced_cost_usd": 0.0025},
            id="a foreign pool",
        ),
        pytest.param(
            {"is_conflict": True},
            {"priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0, "unpriced_cost_usd": 0.0025},
            id="two machines of one name",
        ),
        pytest.param(
            {"power_w": 1.1e6},
            {"covered_s": 0.0, "energy_j": 0.0, "priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0,
             "unpriced_revenue_usd": 4.0 / 1440},
            id="more watts than a machine can draw",
        ),
        pytest.param(
            {"hashrate_hs": 1e300},
            {"hashrate_s": 0.0, "hashes": 0.0, "priced_s": 0.0, "priced_j": 0.0, "revenue_usd": 0.0, "cost_usd": 0.0,
             "unpriced_cost_usd": 0.0025},
            id="more hashes than fit a whole number",
        ),
    ],
)  # fmt: skip
def test_what_differs(told: dict[str, Any], expected: dict[str, float]) -> None:
    plain = amounts(booked(one(), later(one(), 60.0)))
    cycle = one(**told)
    account = amounts(booked(cycle, later(cycle, 60.0)))
    assert account == pytest.approx({k: v for k, v in (plain | expected).items() if v}, rel=1e-6)


STANDS = {"is_running": False, "power_w": 30.0}
ZERO = {"hashrate_s": 60.0, "priced_s": 60.0, "cost_usd": 0.03 * 0.05 / 60}
UNKNOWN = {"unpriced_cost_usd": 0.03 * 0.05 / 60}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # its average still shows the work of before
        pytest.param({"state": STATE_CODES[OperatingState.SLEEPING]}, ZERO, id="asleep"),
        pytest.param({"state": STATE_CODES[OperatingState.IDLE]}, ZERO, id="idle"),
        pytest.param({"state": STATE_CODES[OperatingState.FAULTED], "hashrate_hs": NAN}, ZERO, id="failed"),
        pytest.param({"hashrate_hs": 0.0}, ZERO, id="makes no hash"),
        pytest.param({"power_source": PowerSource.METERED}, ZERO, id="its meter shows it dark"),
        pytest.param({"power_source": PowerSource.METERED, "up": 0.0, "hashrate_hs": NAN}, ZERO, id="dark and silent"),
        pytest.param({"hashprice": NAN, "hashrate_hs": 0.0}, ZERO, id="earns nothing without a market too"),
        pytest.param({"state": STATE_CODES[OperatingState.WARMING_UP]}, UNKNOWN, id="warms up"),
        pytest.param({"up": 0.0}, UNKNOWN, id="silent"),
        pytest.param({"up": 0.0, "hashrate_hs": 0.0}, UNKNOWN, id="silent after it stood"),
        pytest.param({"hashrate_hs": NAN}, UNKNOWN, id="claims what cannot be"),
        pytest.param({"power_source": PowerSource.SHARED, "up": 0.0}, UNKNOWN, id="a shared meter proves nothing"),
        pytest.param(
            {"power_source": PowerSource.METERED, "power_w": 0.0, "power_if_running_w": NAN, "up": 0.0},
            {"hashrate_s": 60.0, "priced_s": 60.0}, id="an outlet that is off",
        ),
        pytest.param(
            {"power_source": PowerSource.METERED, "power_if_running_w": NAN, "up": 0.0}, UNKNOWN,
            id="nobody knows what dark is",
        ),
        pytest.param({"hashrate_hs": 0.0, "is_sha256": False}, UNKNOWN | {"hashrate_s": 60.0}, id="of another coin"),
    ],
)  # fmt: skip
def test_a_machine_that_does_not_run_earns_nothing_where_that_is_known(
    told: dict[str, Any], expected: dict[str, float]
) -> None:
    cycle = one(**(STANDS | told))
    money = {"hashrate_s", "hashes", "priced_s", "revenue_usd", "cost_usd", "unpriced_revenue_usd", "unpriced_cost_usd"}
    account = amounts(booked(cycle, later(cycle, 60.0)))
    assert {name: value for name, value in account.items() if name in money} == pytest.approx(expected, rel=1e-4)


def test_fees_rejects_and_losses_are_the_sites() -> None:
    cycle = one()
    cycle = replace(cycle, site=replace(cycle.site, terms=EconomicTerms(pool_fee=0.02, reject=0.01, overhead=0.06)))
    account = amounts(booked(cycle, later(cycle, 60.0)))
    assert account["revenue_usd"] == pytest.approx(4.0 / 1440 * 0.98 * 0.99, rel=1e-6)
    assert account["cost_usd"] == pytest.approx(0.0025 * 1.06, rel=1e-6)
    assert account["energy_j"] == 180_000.0  # at the wall


def test_each_machine_pays_the_price_of_its_tariff_and_its_host() -> None:
    """The second one's price is not known; the host of the third takes 30 % of 4/24 - 3 * 0.04 = 0.0466667 USD/h."""
    machines = (
        Machine("a"),
        Machine("b", tariff="index"),
        Machine("c", tariff="hosted"),
        Machine("d", tariff="hosted"),
    )
    cycle = make_cycle(
        tuple(machine.id for machine in machines),
        snapshot={
            "up": [1.0] * 4, "is_running": [True] * 4, "hashrate_hs": [100e12, 100e12, 100e12, 50e12],
            "power_w": [3000.0] * 4, "is_sha256": [True] * 4, "is_expected_pool": [True] * 4,
        },
        valuation={"hashprice_usd_ph_day": 40.0},
        machines=machines,
        at_s=HOUR_S,
    )  # fmt: skip
    power = (
        SITE_PRICE,
        PowerPrice("index", NAN, "file", InputState.MISSING),
        PowerPrice("hosted", 0.04, "flat", InputState.FRESH, profit_share=0.3),
    )
    site = replace(cycle.site, terms=EconomicTerms(pool_fee=0.0, reject=0.0, overhead=0.0))
    cycle = replace(cycle, site=site, power=power)
    account = booked(cycle, later(cycle, 60.0))
    per_hour = {name: (account.amount(name) * 60).round(6).tolist() for name in ("cost_usd", "host_share_usd")}
    assert per_hour == {"cost_usd": [0.15, 0.0, 0.12, 0.12], "host_share_usd": [0.0, 0.0, 0.014, 0.0]}
    assert account.amount("priced_s").tolist() == [60.0, 0.0, 60.0, 60.0]
    assert (account.amount("unpriced_revenue_usd") * 60).round(6).tolist() == [0.0, 0.166667, 0.0, 0.0]
    assert account.roster.tariffs == ("", "index", "hosted", "hosted")


def test_a_cycle_of_the_past_is_priced_by_what_it_was_judged_with() -> None:
    """One that was read from a record of before tariffs had names."""
    cycle = replace(one(), power=())
    assert amounts(booked(cycle, later(cycle, 60.0)))["cost_usd"] == pytest.approx(3.0 * 0.06 / 60, rel=1e-6)


# --- accepted work ---------------------------------------------------------------------------------------------------


def work(accepted: float, rejected: float = 0.0) -> Any:
    column = np.full((1, len(WORK_SLOTS)), NAN)
    column[0, [ACCEPTED, REJECTED]] = accepted, rejected
    return column


def test_accepted_work_is_the_step_between_two_cycles_and_pays_less_the_pools_fee() -> None:
    """At difficulty 65536 a share proves 2.815e14 hashes: 20 of them a minute are 93.8 TH/s."""
    before, after = one(work_total=work(1_000_000.0, 500.0)), one(HOUR_S + 60, work_total=work(2_310_720.0, 700.0))
    terms = EconomicTerms(pool_fee=0.02, reject=0.01, overhead=0.0)
    before = replace(before, site=replace(before.site, terms=terms))
    account = amounts(booked(before, after))
    assert (account["accepted_s"], account["difficulty_accepted"], account["difficulty_rejected"]) == (
        60.0, 1_310_720.0, 200.0,
    )  # fmt: skip
    assert account["accepted_revenue_usd"] == pytest.approx(40 / 86_400 * 1_310_720 * 2**32 / 1e15 * 0.98, rel=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "seconds", "expected"),
    [
        pytest.param(work(NAN, NAN), work(50.0), 60.0, {}, id="first told"),
        pytest.param(work(50.0), work(NAN, NAN), 60.0, {}, id="no longer told"),
        pytest.param(work(50.0), work(20.0), 60.0, {}, id="set back"),
        pytest.param(work(50.0), work(50.0), 60.0, {"accepted_s": 60.0}, id="no share yet"),
        pytest.param(
            work(50.0, NAN), work(70.0, NAN), 60.0, {"accepted_s": 60.0, "difficulty_accepted": 20.0},
            id="rejects not told",
        ),
        pytest.param(
            work(50.0), work(70.0), 120.0, {"accepted_s": 120.0, "difficulty_accepted": 20.0}, id="just in time"
        ),
        pytest.param(work(50.0), work(70.0), 121.0, {}, id="nobody knows when"),
        pytest.param(work(50.0), work(1e15), 60.0, {}, id="a counter that jumps"),
        pytest.param(work(50.0), work(1e300), 60.0, {}, id="a counter that jumps beyond all whole numbers"),
        pytest.param(
            work(50.0, 0.0), work(70.0, 1e300), 60.0, {"accepted_s": 60.0, "difficulty_accepted": 20.0},
            id="rejects that jump",
        ),
    ],
)  # fmt: skip
def test_a_counter_that_is_not_told_on_both_sides_covers_nothing(
    before: Any, after: Any, seconds: float, expected: dict[str, float]
) -> None:
    account = amounts(booked(one(hashprice=NAN, work_total=before), one(HOUR_S + seconds, work_total=after)))
    told = {"accepted_s", "difficulty_accepted", "difficulty_rejected", "accepted_revenue_usd"}
    assert {name: value for name, value in account.items() if name in told} == expected


@pytest.mark.parametrize("foreign", [{"is_sha256": False}, {"is_expected_pool": False}, {"is_conflict": True}])
def test_work_for_others_pays_us_nothing(foreign: dict[str, Any]) -> None:
    account = amounts(booked(one(work_total=work(0.0), **foreign), one(HOUR_S + 60, work_total=work(1e6))))
    assert account["difficulty_accepted"] == 1e6
    assert "accepted_revenue_usd" not in account


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_longer_gap_is_covered_for_as_long_as_a_value_holds() -> None:
    account = booked(one(), one(HOUR_S + 1000.0))
    assert account.amount("reached_s").tolist() == [120.0]
    assert account.end_s == HOUR_S + 120.0


def test_an_hour_takes_its_part_of_a_step_and_no_more() -> None:
    before, after = one(HOUR_S - 40.0, work_total=work(0.0)), one(HOUR_S + 20.0, work_total=work(600.0))
    assert amounts(booked(before, after, start_s=HOUR_S - 3600))["reached_s"] == 40.0
    ours = amounts(booked(before, after))
    assert (ours["reached_s"], ours["energy_j"], ours["difficulty_accepted"]) == (20.0, 60_000.0, 200.0)
    assert amounts(booked(before, after, start_s=HOUR_S + 3600)) == {}


def test_no_instant_is_booked_twice() -> None:
    cycles = [one(HOUR_S + at_s) for at_s in (0.0, 60.0, 30.0, 90.0, 10.0)]
    assert booked(*cycles).amount("reached_s").tolist() == [90.0]


def test_an_hour_that_was_kept_goes_on() -> None:
    cycle = one(HOUR_S + 600.0)
    first = booked(one(), later(one(), 60.0))
    sheet = reopened(first, HOUR_S + 3600, [PriceSpan("difficulty", HOUR_S, 60.0, 1.0, 1.0, 1.0)])
    book(sheet, one(), later(one(), 60.0))  # again: nothing
    book(sheet, cycle, later(cycle, 100.0))
    whole = settle(sheet)
    assert whole.amount("reached_s").tolist() == [160.0]
    assert (whole.start_s, whole.end_s) == (HOUR_S, HOUR_S + 700.0)
    assert sheet.prices["difficulty", HOUR_S].known_s == 60.0


# --- rows ------------------------------------------------------------------------------------------------------------


def roster(*ids: str, word: str = "") -> Roster:
    return Roster(ids, *((word,) * len(ids) for _ in range(5)))


def sheet_of(*ids: str) -> Sheet:
    sheet = blank(HOUR_S, HOUR_S + 3600, roster(*ids, word="old"))
    sheet.sums[0] = 1.0 + np.arange(len(ids))
    return sheet


@pytest.mark.parametrize(
    ("known", "wanted", "ids", "seconds"),
    [
        pytest.param("ab", "ab", "ab", [1, 2], id="the same"),
        pytest.param("ab", "abc", "abc", [1, 2, 0], id="one more"),
        pytest.param("", "ab", "ab", [0, 0], id="all new"),
        pytest.param("abc", "ca", "cab", [3, 1, 2], id="one gone and another order"),
        pytest.param("ab", "", "ab", [1, 2], id="all gone"),
        pytest.param("ab", "xa", "xab", [0, 1, 2], id="one before the others"),
    ],
)
def test_rows_are_matched_by_id_and_nothing_booked_is_lost(
    known: str, wanted: str, ids: str, seconds: list[float]
) -> None:
    sheet = arranged(sheet_of(*known), roster(*wanted, word="new"))
    assert sheet.roster.ids == tuple(ids)
    assert sheet.sums[0].tolist() == seconds
    assert sheet.sums.shape == (len(ITEMS), len(ids))
    words = {name: "new" if name in wanted else "old" for name in ids}
    assert sheet.roster.models == tuple(words[name] for name in ids)


def test_machines_that_come_later_are_booked_from_then_on() -> None:
    small, large = one(), later(make_cycle(("m0", "m1"), snapshot={"up": [1.0, 1.0]}), 0.0)
    large = replace(large, at_s=HOUR_S + 60.0)
    sheet = blank(HOUR_S, HOUR_S + 3600, roster_of(small))
    book(sheet, small, large)
    sheet = arranged(sheet, roster_of(large))
    book(sheet, large, later(large, 30.0))
    assert settle(sheet).amount("reached_s").tolist() == [90.0, 30.0]


def test_the_words_of_a_machine() -> None:
    machines = (Machine("a", location="hall1", owner="ann", feeder="f1", tariff="t"), Machine("b"))
    cycle = make_cycle(("a", "b"), machines=machines)
    infos = (MachineInfo(model="S19"), MachineInfo())
    cycle = replace(cycle, snapshot=replace(make_snapshot(("a", "b")), infos=infos))
    assert roster_of(cycle) == Roster(("a", "b"), ("S19", ""), ("hall1", ""), ("ann", ""), ("f1", ""), ("t", ""))


# --- sums ------------------------------------------------------------------------------------------------------------


def account_of(hour: int, counts: dict[str, int], word: str = "") -> Account:
    start_s = HOUR_S + 3600.0 * hour
    rows = np.array([[count] * len(ITEMS) for count in counts.values()], np.int64).reshape(-1, len(ITEMS))
    return Account(Span.HOUR, start_s, start_s + 3600.0, roster(*counts, word=word), rows)


def test_the_total_of_different_rosters() -> None:
    whole = total(Span.DAY, [account_of(1, {"b": 5, "c": 7}, "late"), account_of(0, {"a": 1, "b": 2}, "early")])
    assert (whole.span, whole.start_s, whole.end_s) == (Span.DAY, HOUR_S, HOUR_S + 7200.0)
    assert whole.roster.ids == ("b", "c", "a")
    assert whole.roster.owners == ("late", "late", "early")
    assert whole.counts[:, 0].tolist() == [7, 7, 1]


def test_what_one_hour_lacks_the_day_lacks_and_so_does_an_hour_that_goes_on() -> None:
    """An item that an older version did not book is no whole in any sum."""
    older = replace(account_of(0, {"a": 1}), without=frozenset({"priced_j"}))
    whole = total(Span.DAY, [account_of(1, {"a": 5}), older])
    assert whole.without == {"priced_j"}
    assert total(Span.DAY, [account_of(1, {"a": 5})]).without == frozenset()
    sheet = arranged(reopened(older, older.end_s + 3600.0), roster("a", "b"))
    assert settle(sheet).without == {"priced_j"}


def test_the_total_of_nobody_and_of_nothing() -> None:
    assert total(Span.DAY, [account_of(0, {})]).counts.shape == (0, len(ITEMS))
    with pytest.raises(ValueError, match="no account"):
        total(Span.DAY, [])


many = st.lists(
    st.builds(
        account_of, st.integers(0, 23), st.dictionaries(st.sampled_from("abcdef"), st.integers(-(10**15), 10**15)),
        st.sampled_from(["x", "y"]),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(deadline=None)
@given(many, st.randoms(use_true_random=False))
def test_a_total_is_exact_and_its_order_is_no_matter(accounts: list[Account], chance: Any) -> None:
    whole = total(Span.DAY, accounts)
    assert dict(zip(whole.roster.ids, whole.counts[:, 3].tolist(), strict=True)) == {
        name: sum(int(a.counts[a.roster.ids.index(name), 3]) for a in accounts if name in a.roster.ids)
        for name in {name for a in accounts for name in a.roster.ids}
    }
    chance.shuffle(accounts)
    again = total(Span.DAY, accounts)
    assert again.roster == whole.roster
    np.testing.assert_array_equal(again.counts, whole.counts)


# --- any cycles at all -----------------------------------------------------------------------------------------------

N = 3
watts_of = st.sampled_from([NAN, 0.0, 30.0, 3000.0, 3456.789])
columns = st.fixed_dictionaries(
    {
        "up": st.lists(st.sampled_from([1.0, 0.0, NAN]), min_size=N, max_size=N),
        "is_running": st.lists(st.booleans(), min_size=N, max_size=N),
        "hashrate_hs": st.lists(st.sampled_from([NAN, 0.0, 1e12, 123.456e12]), min_size=N, max_size=N),
        "power_w": st.lists(watts_of, min_size=N, max_size=N),
        "power_if_running_w": st.lists(watts_of, min_size=N, max_size=N),
        "power_source": st.lists(st.sampled_from(list(PowerSource)), min_size=N, max_size=N),
        "state": st.lists(st.sampled_from(list(STATE_CODES.values())), min_size=N, max_size=N),
        "is_sha256": st.lists(st.booleans(), min_size=N, max_size=N),
        "is_expected_pool": st.lists(st.booleans(), min_size=N, max_size=N),
        "is_conflict": st.lists(st.booleans(), min_size=N, max_size=N),
        "work_total": st.lists(
            st.lists(st.sampled_from([NAN, 0.0, 1e6, 2.5e6]), min_size=5, max_size=5), min_size=N, max_size=N
        ),
    }
)


@st.composite
def cycles_of(draw: st.DrawFn) -> list[Cycle]:
    """A few cycles over some hours; a counter never goes back while it is told, a machine that runs has a hashrate."""
    made, at_s, work_total = [], HOUR_S + 1800.0, np.zeros((N, 5))
    for _ in range(draw(st.integers(2, 5))):
        told = {name: np.array(column) for name, column in draw(columns).items()}
        told["is_running"] &= told["hashrate_hs"] > 0.0
        work_total = np.fmax(work_total, told["work_total"])
        told["work_total"] = np.where(np.isnan(told["work_total"]), NAN, work_total)
        machines = (Machine("m0"), Machine("m1", tariff="hosted"), Machine("m2", tariff="index"))
        cycle = make_cycle(
            ("m0", "m1", "m2"), snapshot=told, machines=machines, at_s=at_s,
            decision={"action": draw(st.lists(st.sampled_from(list(Action)), min_size=N, max_size=N))},
            valuation={"hashprice_usd_ph_day": draw(st.sampled_from([NAN, 31.5, 57.25]))},
        )  # fmt: skip
        power = (
            PowerPrice("", draw(st.sampled_from([0.05, -0.01])), "flat", InputState.FRESH),
            PowerPrice("hosted", 0.04, "flat", InputState.FRESH, profit_share=0.25),
            PowerPrice("index", NAN, "file", InputState.MISSING),
        )
        made.append(replace(cycle, power=power))
        at_s += draw(st.sampled_from([1.0, 10.0, 59.9, 119.0, 121.0, 1799.5, 3700.0]))
    return made


def hours_of(cycles: list[Cycle]) -> list[Account]:
    """The account of each hour that they touch."""
    hours = np.arange(HOUR_S, cycles[-1].at_s, 3600.0)
    return [booked(*cycles, start_s=start_s) for start_s in hours.tolist()]


@settings(deadline=None)
@given(cycles_of())
def test_columns_and_a_reckoning_machine_by_machine_agree(cycles: list[Cycle]) -> None:
    ledger = Ledger(UTC)
    for cycle in cycles:
        ledger.enter(cycle)
    for account in hours_of(cycles):
        for row, machine in enumerate(account.roster.ids):
            # the two add the same numbers in the same order, one column by column
            assert account.counts[row].tolist() == ledger.counts(account.start_s, machine)


@settings(deadline=None)
@given(cycles_of(), st.data())
def test_a_step_cut_anywhere_comes_to_the_same_but_for_a_unit(cycles: list[Cycle], data: st.DataObject) -> None:
    """The same is said at the cut as before it; counters stand where even work would have brought them."""
    place = data.draw(st.integers(0, len(cycles) - 2))
    before, after = cycles[place : place + 2]
    if after.at_s - before.at_s > 120.0:
        return
    ratio = data.draw(st.floats(0.001, 0.999))
    steps = after.snapshot.work_total - before.snapshot.work_total
    halfway = before.snapshot.work_total + ratio * steps
    cut = replace(
        before,
        at_s=before.at_s + ratio * (after.at_s - before.at_s),
        snapshot=replace(before.snapshot, work_total=halfway),
    )
    whole = total(Span.DAY, hours_of(cycles))
    parts = total(Span.DAY, hours_of([*cycles[: place + 1], cut, *cycles[place + 1 :]]))
    assert np.abs(whole.counts - parts.counts).max() <= 1


@settings(deadline=None)
@given(cycles_of())
def test_amounts_are_within_the_time_that_they_cover(cycles: list[Cycle]) -> None:
    for account in hours_of(cycles):
        told = {item.name: account.counts[:, COLUMN[item.name]] for item in ITEMS}
        for name in ("reached_s", "running_s", "stopped_s", "hashrate_s", "covered_s", "accepted_s", "priced_s"):
            assert (told[name] >= 0).all()
            assert (told[name] <= round((account.end_s - account.start_s) * 1e3)).all()
        for seconds, covered in (
            ("hashrate_s", ("hashes",)),
            ("covered_s", ("energy_j", "metered_j")),
            ("accepted_s", ("difficulty_accepted", "difficulty_rejected", "accepted_revenue_usd")),
            ("priced_s", ("revenue_usd", "cost_usd", "host_share_usd")),
        ):
            for name in covered:
                assert not told[name][told[seconds] == 0].any(), name
        assert (told["priced_s"] <= np.minimum(told["hashrate_s"], told["covered_s"])).all()
        assert (told["metered_j"] <= told["energy_j"]).all()


@settings(deadline=None)
@given(cycles_of(), st.sampled_from([0.5, 2.0, 64.0]))
def test_revenue_is_linear_in_hashrate_and_cost_in_power(cycles: list[Cycle], factor: float) -> None:
    """By powers of two, which rounding does not see; and in the sums, before anything is rounded to units."""

    def sums(of: list[Cycle]) -> Any:
        sheet = blank(HOUR_S, HOUR_S + 1e6, roster_of(of[0]))
        for before, after in pairwise(of):
            book(sheet, before, after)
        return sheet.sums

    def scaled(cycle: Cycle, **by: float) -> Cycle:
        changed = {name: getattr(cycle.snapshot, name) * factor for name, factor in by.items()}
        return replace(cycle, snapshot=replace(cycle.snapshot, **changed))

    plain = sums(cycles)
    faster = sums([scaled(cycle, hashrate_hs=factor) for cycle in cycles])
    hotter = sums([scaled(cycle, power_w=factor, power_if_running_w=factor) for cycle in cycles])
    for name in ("hashes", "revenue_usd", "unpriced_revenue_usd"):
        np.testing.assert_array_equal(faster[COLUMN[name]], plain[COLUMN[name]] * factor)
    for name in ("energy_j", "metered_j", "cost_usd", "unpriced_cost_usd"):
        np.testing.assert_array_equal(hotter[COLUMN[name]], plain[COLUMN[name]] * factor)


# --- prices ----------------------------------------------------------------------------------------------------------


def prices_after(*cycles: Cycle) -> dict[tuple[str, float], PriceSpan]:
    sheet = blank(HOUR_S, HOUR_S + 3600, roster_of(cycles[0]))
    for before, after in pairwise(cycles):
        book(sheet, before, after)
    return {(name, at_s - HOUR_S): span for (name, at_s), span in sheet.prices.items()}


def test_a_price_of_five_minutes_is_its_mean_over_the_time_in_which_it_was_known() -> None:
    at = {200.0: 40.0, 230.0: NAN, 270.0: 52.0, 310.0: 46.0, 330.0: 48.0, 360.0: 1.0}
    spans = prices_after(*(one(HOUR_S + at_s, hashprice=value) for at_s, value in at.items()))
    name = "hashprice_usd_ph_day"
    assert spans[name, 0.0].mean == pytest.approx((30 * 40 + 30 * 52) / 60)
    assert replace(spans[name, 0.0], mean=0.0) == PriceSpan(name, HOUR_S, 60.0, 0.0, 40.0, 52.0)
    assert spans[name, 300.0].mean == pytest.approx((10 * 52 + 20 * 46 + 30 * 48) / 60)
    assert replace(spans[name, 300.0], mean=0.0) == PriceSpan(name, HOUR_S + 300, 60.0, 0.0, 46.0, 52.0)


def test_the_prices_that_are_told() -> None:
    cycle = replace(
        one(),
        power=(SITE_PRICE, PowerPrice("a", 0.04, "x", InputState.FRESH), PowerPrice("b", NAN, "y", InputState.MISSING)),
    )
    cycle = replace(cycle, valuation=replace(cycle.valuation, btc_usd_raw=70_100.0, power_usd_per_kwh=0.05))
    told = {name: span.mean for (name, _), span in prices_after(cycle, later(cycle, 60.0)).items()}
    assert told == {
        "hashprice_usd_ph_day": 40.0, "btc_usd": 70_005.0, "btc_usd_raw": 70_100.0, "difficulty": 1.4e14,
        "reward_btc": 3.145, "power_usd_kwh": 0.05, "power_usd_kwh:a": 0.04,
    }  # fmt: skip


# --- items and hours -------------------------------------------------------------------------------------------------


def test_the_items_are_those_that_the_ledger_of_the_tests_knows() -> None:
    assert {item.name: item.unit for item in ITEMS} == UNIT
    assert UNITS.tolist() == list(UNIT.values())
    assert [field.name for field in fields(Roster)] == ["ids", "models", "locations", "owners", "feeders", "tariffs"]


@pytest.mark.parametrize(
    ("zone", "at", "start", "end"),
    [
        pytest.param("UTC", "2026-03-29T01:30:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z", id="utc"),
        pytest.param("Asia/Kolkata", "2026-03-29T01:30:00Z", "2026-03-29T01:30Z", "2026-03-29T02:30Z", id="half"),
        pytest.param("Asia/Kathmandu", "2026-03-29T01:14:59Z", "2026-03-29T00:15Z", "2026-03-29T01:15Z", id="quarter"),
        # two o'clock comes twice: 02:00 CEST to 03:00 CEST, then 02:00 CET to 03:00 CET
        pytest.param("Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T00:00Z", "2026-10-25T01:00Z", id="first 2"),
        pytest.param("Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z", id="second 2"),
        # half an hour is given back at 02:00 LHDT, which becomes 01:30 LHST
        pytest.param(
            "Australia/Lord_Howe", "2026-04-04T14:59:00Z", "2026-04-04T14:00Z", "2026-04-04T15:00Z", id="lh 1"
        ),
        pytest.param(
            "Australia/Lord_Howe", "2026-04-04T15:01:00Z", "2026-04-04T15:00Z", "2026-04-04T15:30Z", id="lh 2"
        ),
        pytest.param(
            "Australia/Lord_Howe", "2026-04-04T15:30:00Z", "2026-04-04T15:30Z", "2026-04-04T16:30Z", id="lh 3"
        ),
    ],
)
def test_the_local_hour_around_an_instant(zone: str, at: str, start: str, end: str) -> None:
    def unix(text: str) -> float:
        return float(np.datetime64(text.rstrip("Z"), "s").astype(np.int64))

    assert hour_around_s(zone_of(ZoneInfo(zone)), unix(at)) == (unix(start), unix(end))


def test_the_last_hour_that_a_zone_knows_has_an_end() -> None:
    start_s, end_s = hour_around_s(zone_of(ZoneInfo("Europe/Berlin")), 1e10)
    assert end_s - start_s == 3600.0
    assert not math.isinf(hour_around_s(zone_of(UTC), 0.0)[0])
