"""Meters, mappings and breakers: what is said of them, when, and what it does to a machine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleet.doubts import PduWatch, since, watch_meters, watch_pdus
from fleet.readings import OperatingState, PowerSource, RowKind
from fleet.site import Machine, Site
from fleet.snapshot import (
    KIND_CODES,
    STATE_CODES,
    MachineInfo,
    MeterDoubt,
    Observations,
    PduColumns,
    PduDoubt,
    Snapshot,
    assemble,
    learn_steady,
)
from fleet.work import count_work

NOW_S = 1_800_000_000.0
VALID_S = 60.0
NAN = math.nan
POWER, HASH, RATIO = MeterDoubt.POWER_WITHOUT_HASH, MeterDoubt.HASH_WITHOUT_POWER, MeterDoubt.RATIO


class Story:
    """One machine and the outlet that it is said to hang on, told look by look. Times in seconds of the story."""

    def __init__(self, steady_w: float = 3500.0) -> None:
        self.observed = Observations.empty(1)
        self.observed.is_sha256[:] = True
        self.observed.steady_power_w[:], self.observed.steady_hashrate_hs[:] = steady_w, 2e14
        self.site = Site("north", (Machine("m0"),))
        self.watts, self.metered_s, self.resolution_w = NAN, NAN, 1.0

    def answers(self, at_s: float, shares: float = NAN, **said: Any) -> Story:
        values = {
            "hashrate_hs": 2e14, "hashrate_now_hs": 2e14, "reported_power_w": 3500.0, "up": 1.0, "seen_s": NOW_S + at_s,
            "state": STATE_CODES[OperatingState.MINING], "fault": 0,
        }  # fmt: skip
        for name, value in (values | said).items():
            getattr(self.observed, name)[:] = value
        self.observed.work_said[:] = NAN
        self.observed.work_said[0, [0, 3]] = shares, shares * 65536
        return self

    def is_silent(self) -> Story:
        self.observed.up[:], self.observed.fault[:] = 0.0, 3
        return self

    def draws(self, watts: float, at_s: float) -> Story:
        self.watts, self.metered_s = watts, NOW_S + at_s
        return self

    def tick(self, at_s: float) -> Snapshot:
        pdus = PduColumns(
            ids=("p",),
            outlet_pdu=np.zeros(1, np.int32),
            outlet_ids=("1",),
            outlet_machine=np.zeros(1, np.int32),
            outlet_power_w=np.array([self.watts]),
            outlet_is_measured=np.ones(1, bool),
            outlet_at_s=np.array([self.metered_s]),
            outlet_resolution_w=np.array([self.resolution_w]),
        )
        count_work(self.observed)
        snapshot = assemble(self.site, self.observed, (MachineInfo(),), pdus, NOW_S + at_s, VALID_S)
        learn_steady(self.observed, snapshot)
        watch_meters(self.observed, snapshot)
        return snapshot

    def doubt(self, at_s: float) -> int:
        """What a tick would say now: doubts are those of the tick before."""
        self.tick(at_s)
        return int(self.tick(at_s).meter_doubt[0])


def test_what_lasts_when_a_clock_is_set_back_begins_then() -> None:
    before_s = np.array([100.0, 100.0, NAN, 30.0])
    np.testing.assert_array_equal(since(before_s, np.array([1, 0, 1, 1], bool), 50.0), [50.0, NAN, 50.0, 30.0])


# --- hash without power: the meter is another's ----------------------------------------------------------------------


def test_work_that_goes_on_in_the_dark_takes_the_meter_away_and_not_the_machine() -> None:
    story = Story()
    story.answers(0, shares=100).draws(18.0, 5).tick(6)
    seen = []
    for look in range(1, 5):
        snapshot = story.answers(30.0 * look, shares=100 + 12 * look).draws(18.0, 30.0 * look + 5).tick(30 * look + 6)
        seen.append((bool(snapshot.is_running[0]), int(snapshot.meter_doubt[0]), int(snapshot.power_source[0])))
    # dark at first; the second look with new work is proof, and the next tick says so
    assert seen[:2] == [(False, 0, PowerSource.METERED)] * 2
    assert seen[2:] == [(True, HASH, PowerSource.REPORTED)] * 2
    assert snapshot.metered_power_w[0] == 18.0  # told, and not used
    assert story.observed.steady_power_w[0] == 3500.0


def test_a_machine_that_went_dark_is_dark_although_its_last_seconds_of_work_came_in() -> None:
    story = Story()
    story.answers(0, shares=100).draws(3500.0, 1).tick(2)
    story.draws(25.0, 12).tick(12)  # asleep since second 10; its average shows hash for half an hour
    for look in range(1, 20):
        story.answers(30.0 * look, shares=103).draws(25.0, 30.0 * look + 12)
        snapshot = story.tick(30.0 * look + 13)
        assert not snapshot.is_running[0]
        assert not snapshot.meter_doubt[0] & HASH


def test_a_machine_that_wakes_is_not_doubted_before_its_meter_was_read() -> None:
    story = Story()
    story.answers(0, shares=100).draws(25.0, 29).tick(29)
    for look in (1, 2):  # awake since second 30, asked every 20 s; the meter speaks once a minute
        assert not story.answers(30 + 20.0 * look, shares=100 + 9 * look).doubt(31 + 20.0 * look)
    assert not story.draws(3500.0, 89).answers(90, shares=130).doubt(91)


def test_the_proof_holds_while_the_meter_stays_dark_and_ends_with_it() -> None:
    story = Story()
    for look in range(4):
        story.answers(30.0 * look, shares=100 + 12 * look).draws(0.0, 30.0 * look + 5).tick(30.0 * look + 6)
    assert story.doubt(97) == HASH
    assert story.answers(120, shares=136).draws(0.0, 125).doubt(126) == HASH  # a look without a new share
    assert story.answers(150, shares=140).draws(NAN, 155).doubt(156) == HASH  # a meter that says nothing
    assert story.answers(180, shares=150).draws(3400.0, 185).doubt(186) == 0


def test_a_meter_on_which_nobody_could_hash_is_dark_without_any_history() -> None:
    # 200 TH/s take 600 W at the very least; nobody knows what this machine draws
    story = Story(steady_w=NAN)
    for look in range(4):
        story.answers(30.0 * look, shares=100 + 12 * look).draws(599.0, 30.0 * look + 5).tick(30.0 * look + 6)
        if look < 2:
            assert math.isnan(story.observed.steady_power_w[0])  # nor does that teach what it draws when it runs
    assert story.doubt(97) & HASH
    for look in range(4, 8):
        story.answers(30.0 * look, shares=100 + 12 * look).draws(900.0, 30.0 * look + 5).tick(30.0 * look + 6)
    assert not story.doubt(220) & HASH


def test_a_machine_that_counts_difficulty_alone_proves_its_work_as_well() -> None:
    story = Story()
    for look in range(4):
        story.answers(30.0 * look).draws(0.0, 30.0 * look + 5)
        story.observed.work_said[0, 3] = 65536.0 * look
        story.tick(30.0 * look + 6)
    assert story.doubt(97) == HASH


# --- power without hash ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watts", "said", "is_told"),
    [
        (900.0, {"hashrate_hs": 0.0, "hashrate_now_hs": 0.0}, True),
        (900.0, {"state": STATE_CODES[OperatingState.IDLE]}, True),
        (900.0, None, True),  # nobody answers
        (50.0, {"hashrate_hs": 0.0, "hashrate_now_hs": 0.0}, False),  # standby
        (NAN, {"hashrate_hs": 0.0, "hashrate_now_hs": 0.0}, False),
        (3500.0, {}, False),
    ],
)
def test_power_without_hash_is_told_after_ten_minutes(watts: float, said: dict[str, Any] | None, is_told: bool) -> None:
    story = Story()
    for second in range(0, 601, 30):
        if said is None:
            story.is_silent()
        else:
            story.answers(second, **said)
        doubt = story.draws(watts, second).doubt(second)
        assert bool(doubt & POWER) is (is_told and second == 600)


def test_ten_minutes_begin_again_when_it_hashes() -> None:
    story = Story()
    for second in range(0, 1200, 30):
        story.answers(second, hashrate_hs=2e14 if second == 570 else 0.0).draws(3500.0, second)
        assert not story.doubt(second) & POWER
    assert story.answers(1200, hashrate_hs=0.0).draws(3500.0, 1200).doubt(1200) & POWER


def test_a_machine_that_was_never_asked_is_not_blamed() -> None:
    story = Story()
    for second in range(0, 1300, 30):
        assert story.draws(900.0, second).doubt(second) == 0


# --- the ratio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watts", "resolution_w", "reported_w", "is_told"),
    [
        (3500.0, 1.0, 3500.0, False),
        (3149.0, 0.5, 3500.0, True),  # 0.8997
        (3149.0, 1.0, 3500.0, False),  # the step may be the difference
        (4026.0, 0.5, 3500.0, True),  # 1.1503
        (4264.0, 240.0, 3500.0, False),  # whole amperes
        (4266.0, 240.0, 3500.0, True),
        (4026.0, 0.5, NAN, False),
    ],
)
def test_a_ratio_out_of_its_band_is_told_beyond_what_the_meter_can_see(
    watts: float, resolution_w: float, reported_w: float, is_told: bool
) -> None:
    story = Story()
    story.resolution_w = resolution_w
    for second in range(0, 601, 30):
        doubt = story.answers(second, reported_power_w=reported_w).draws(watts, second).doubt(second)
        assert bool(doubt & RATIO) is (is_told and second == 600)


def test_what_has_no_meter_for_a_reason_says_so() -> None:
    observed = Observations.empty(3)
    pdus = PduColumns(contested=np.array([0], np.int32), replaced=np.array([0, 2], np.int32))
    site = Site("north", tuple(Machine(f"m{i}") for i in range(3)))
    snapshot = assemble(site, observed, (MachineInfo(),) * 3, pdus, NOW_S, VALID_S)
    both = MeterDoubt.CONTESTED | MeterDoubt.REPLACED
    assert snapshot.meter_doubt.tolist() == [both, 0, MeterDoubt.REPLACED]


# --- PDUs ------------------------------------------------------------------------------------------------------------


def rows(kind: RowKind, *currents_a: float, limit_a: float = 32.0, **columns: Any) -> PduColumns:
    """One PDU with rows of one kind."""
    n = len(currents_a)
    return PduColumns(
        ids=("p",),
        row_pdu=np.zeros(n, np.int32),
        row_ids=tuple(map(str, range(n))),
        row_kind=np.full(n, KIND_CODES[kind], np.uint8),
        row_unit=np.array(columns.pop("unit", [0] * n), np.int32),
        row_current_a=np.array(currents_a),
        row_current_limit_a=np.full(n, limit_a),
        row_current_resolution_a=np.full(n, columns.pop("resolution_a", NAN)),
        **columns,
    )


def judged(pdus: PduColumns, for_s: float = 600.0, observed: Observations | None = None) -> PduColumns:
    """The PDU after it has shown this from NOW_S for so long."""
    watch = PduWatch.empty(len(pdus.ids), len(pdus.row_ids))
    for now_s in (NOW_S, NOW_S + for_s):
        pdus.doubt[:], pdus.row_doubt[:] = 0, 0
        watch_pdus(pdus, watch, observed or Observations.empty(0), now_s)
    return pdus


@pytest.mark.parametrize(
    ("current_a", "limit_a", "for_s", "doubt"),
    [
        (25.6, 32.0, 600.0, 0),
        (25.7, 32.0, 599.0, 0),
        (25.7, 32.0, 600.0, PduDoubt.NEAR_LIMIT),
        (30.4, 32.0, 0.0, 0),
        (30.5, 32.0, 0.0, PduDoubt.AT_LIMIT),
        (30.5, 32.0, 600.0, PduDoubt.AT_LIMIT | PduDoubt.NEAR_LIMIT),
        (30.5, NAN, 600.0, 0),
        (30.5, 0.0, 600.0, 0),
        (NAN, 32.0, 600.0, 0),
    ],
)
def test_a_breaker_may_carry_four_fifths_for_long(current_a: float, limit_a: float, for_s: float, doubt: int) -> None:
    pdus = judged(rows(RowKind.BANK, current_a, 1.0, limit_a=limit_a), for_s)
    assert pdus.row_doubt.tolist() == [doubt, 0]
    assert pdus.doubt.tolist() == [doubt]


@pytest.mark.parametrize(
    ("kind", "currents_a", "said", "is_uneven"),
    [
        # means 10, largest distances 1.5 and 1.6
        (RowKind.PHASE, (11.5, 9.5, 9.0), {}, False),
        (RowKind.PHASE, (11.6, 9.4, 9.0), {}, True),
        (RowKind.LINE, (8.4, 10.8, 10.8), {}, True),
        (RowKind.PHASE, (11.6, 9.4, 9.0), {"resolution_a": 0.1}, False),
        (RowKind.PHASE, (11.7, 9.3, 9.0), {"resolution_a": 0.1}, True),
        (RowKind.PHASE, (20.0, NAN, 0.0), {}, False),
        (RowKind.PHASE, (20.0, 0.0), {}, False),  # two phases of three
        (RowKind.LINE, (10.0, 10.0, 10.0, 0.1), {}, False),  # the neutral
        (RowKind.BANK, (20.0, 0.0, 0.0), {}, False),
        (RowKind.PHASE, (3.0, 1.5, 1.4), {}, False),  # hardly anything is on
        (RowKind.PHASE, (10, 10, 10, 20, 5, 5), {"unit": [0, 0, 0, 1, 1, 1]}, True),  # the second of a chain
        (RowKind.PHASE, (10, 20, 10, 20, 10, 20), {"unit": [0, 1, 0, 1, 0, 1]}, False),
    ],
)
def test_three_phases_carry_the_same(
    kind: RowKind, currents_a: tuple[float, ...], said: dict[str, Any], is_uneven: bool
) -> None:
    assert judged(rows(kind, *currents_a, **said), 599.0).doubt.tolist() == [0]
    assert judged(rows(kind, *currents_a, **said)).doubt.tolist() == [PduDoubt.IMBALANCE * is_uneven]


def with_outlets(watts: list[float], total_w: float, resolution_w: float, **columns: Any) -> PduColumns:
    n = len(watts)
    return PduColumns(
        ids=("p",),
        power_w=np.array([total_w]),
        is_measured=columns.pop("is_measured", np.ones(1, bool)),
        outlet_pdu=np.zeros(n, np.int32),
        outlet_ids=tuple(map(str, range(n))),
        outlet_machine=np.arange(n, dtype=np.int32),
        outlet_power_w=np.array(watts, np.float64),
        outlet_is_measured=columns.pop("outlet_is_measured", np.ones(n, bool)),
        outlet_resolution_w=np.full(n, resolution_w),
        outlet_at_s=np.full(n, NOW_S),
    )


@pytest.mark.parametrize(
    ("watts", "total_w", "resolution_w", "said", "is_off"),
    [
        ([500, 400], 1000.0, 1.0, {}, False),  # exactly a tenth
        ([500, 399], 1000.0, 1.0, {}, True),
        ([600, 501], 1000.0, 1.0, {}, True),
        ([500, 399], 1000.0, 20.0, {}, False),  # two outlets of 20 W steps: 120 W
        ([500, 379], 1000.0, 20.0, {}, True),
        ([500, 379], 1000.0, NAN, {}, True),
        ([500, NAN], 1000.0, 1.0, {}, False),
        ([500, 399], 1000.0, 1.0, {"outlet_is_measured": np.array([True, False])}, False),
        ([500, 399], 1000.0, 1.0, {"is_measured": np.zeros(1, bool)}, False),
        ([500, 399], NAN, 1.0, {}, False),
        ([], 1000.0, 1.0, {}, False),
    ],
)
def test_outlets_make_the_total_or_somebody_is_told(
    watts: list[float], total_w: float, resolution_w: float, said: dict[str, Any], is_off: bool
) -> None:
    assert judged(with_outlets(watts, total_w, resolution_w, **said), 599.0).doubt.tolist() == [0]
    assert judged(with_outlets(watts, total_w, resolution_w, **said)).doubt.tolist() == [PduDoubt.SUM * is_off]


@pytest.mark.parametrize(
    ("reported", "unchanged_s", "is_frozen"),
    [
        ([(3000, 3000), (3000, 3000), (3000, 3000)], 3600.0, False),  # nothing happened
        ([(3000, 3000), (3000, 2300), (3000, 3000)], 3600.0, True),  # 700 of 6000 W
        ([(3000, 3000), (3000, 2300), (3000, 3000)], 3599.0, False),
        ([(3000, 3000), (3000, 2710), (3000, 3000)], 3600.0, False),  # 290 W are below 5 %
        ([(3000, 3000), (3000, NAN), (3000, 3000)], 3600.0, False),  # the network lost one
    ],
)
def test_a_pdu_that_tells_the_same_while_its_machines_change_is_frozen(
    reported: list[tuple[float, float]], unchanged_s: float, is_frozen: bool
) -> None:
    observed, watch = Observations.empty(2), PduWatch.empty(1, 0)
    observed.up[:] = 1.0
    for number, watts in enumerate(reported):
        observed.reported_power_w[:] = watts
        pdus = with_outlets([3000, 3000], 6000.0, 1.0)
        pdus.changed_s = np.array([NOW_S])
        watch_pdus(pdus, watch, observed, NOW_S + (400.0, 2000.0, unchanged_s)[number])
    assert pdus.doubt.tolist() == [PduDoubt.FROZEN * is_frozen]


def test_what_happened_before_a_pdu_last_changed_does_not_freeze_it() -> None:
    # the second PDU tells the same all the time, and so do its machines
    observed, watch = Observations.empty(2), PduWatch.empty(2, 0)
    observed.up[:] = 1.0
    for at_s, unchanged_s, watts in ((0, 0, 1000), (400, 0, 3000), (800, 790, 3000), (4400, 790, 3000)):
        observed.reported_power_w[:] = watts, 3000.0
        pdus = with_outlets([3000, 3000], 3000.0, 1.0)
        pdus = replace(pdus, ids=("p", "q"), power_w=np.full(2, 3000.0), is_measured=np.ones(2, bool))
        pdus.outlet_pdu = np.array([0, 1], np.int32)
        pdus.changed_s = np.array([NOW_S + unchanged_s, NOW_S - 900.0])
        watch_pdus(pdus, watch, observed, NOW_S + at_s)
    assert pdus.doubt.tolist() == [0, 0]
