"""The table at one instant: what is too old is missing and says why, and every watt says where it comes from."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from fleet.readings import FAULT_CODES, CapableSource, FaultKind, OperatingState, PowerSource, Reason, RowKind, Sensor
from fleet.site import Machine, Site
from fleet.snapshot import (
    KIND_CODES,
    SENSOR_SLOTS,
    STANDBY_W,
    STATE_CODES,
    STATES,
    WORK_SLOTS,
    MachineInfo,
    Observations,
    PduColumns,
    Snapshot,
    Suspect,
    assemble,
    learn_steady,
    model_mean,
)

NOW_S = 1_800_000_000.0
MINING, ASLEEP, WARMING = (
    STATE_CODES[state] for state in (OperatingState.MINING, OperatingState.SLEEPING, OperatingState.WARMING_UP)
)
VALID_S = 60.0  # two intervals of 30 s
NAN = math.nan


def observe(n: int, **columns: Any) -> Observations:
    """`n` machines that answered just now and said nothing but the `columns`; one value stands for all rows."""
    observed = Observations.empty(n)
    observed.up[:] = 1.0
    observed.seen_s[:] = NOW_S
    for name, values in columns.items():
        getattr(observed, name)[:] = values
    return observed


def outlets(*rows: tuple[int, float, bool, float]) -> PduColumns:
    """One PDU; each row is (machine, watts, is measured, age in s)."""
    machine, watts, measured, age_s = zip(*rows, strict=True)
    return PduColumns(
        ids=("p",),
        outlet_pdu=np.zeros(len(rows), np.int32),
        outlet_ids=tuple(str(i) for i in range(len(rows))),
        outlet_machine=np.array(machine, np.int32),
        outlet_power_w=np.array(watts),
        outlet_is_measured=np.array(measured),
        outlet_at_s=NOW_S - np.array(age_s),
    )


def freeze(
    observed: Observations, pdus: PduColumns | None = None, machines: tuple[Machine, ...] | None = None
) -> Snapshot:
    n = len(observed.up)
    site = Site("north", machines or tuple(Machine(f"m{i}") for i in range(n)))
    return assemble(site, observed, (MachineInfo(),) * n, pdus or PduColumns(), NOW_S, VALID_S)


def test_a_reading_holds_for_two_intervals_and_then_is_missing_with_its_reason() -> None:
    observed = observe(
        4, seen_s=[NOW_S, NOW_S - 60.0, NOW_S - 60.5, NOW_S - 60.5], up=[1, 0, 1, 0], hashrate_hs=1e14,
        hashrate_expected_hs=1.1e14, reported_power_w=3000.0, temperature_c=60.0, fan_rpm=5000.0, uptime_s=7.0,
        state=STATE_CODES[OperatingState.MINING],
    )  # fmt: skip
    snapshot = freeze(observed)
    assert snapshot.age_s.tolist() == [0.0, 60.0, 60.5, 60.5]
    for column, value in (
        (snapshot.hashrate_hs, 1e14),
        (snapshot.hashrate_expected_hs, 1.1e14),
        (snapshot.reported_power_w, 3000.0),
        (snapshot.power_w, 3000.0),
        (snapshot.uptime_s, 7.0),
        (snapshot.temperature_c[:, 0], 60.0),
        (snapshot.fan_rpm[:, 4], 5000.0),
    ):
        np.testing.assert_array_equal(column, [value, value, NAN, NAN])
    reasons = [Reason.NONE, Reason.NONE, Reason.STALE, Reason.UNREACHABLE]
    assert snapshot.hashrate_reason.tolist() == reasons
    assert snapshot.power_reason.tolist() == reasons
    unknown, mining = STATE_CODES[OperatingState.UNKNOWN], STATE_CODES[OperatingState.MINING]
    assert snapshot.state.tolist() == [mining, mining, unknown, unknown]
    # what it did is still believed after one failed look, but not that it goes on doing it
    assert snapshot.is_running.tolist() == [True, False, False, False]


def test_what_came_with_a_reading_goes_with_it() -> None:
    observed = observe(
        2, seen_s=[NOW_S, NOW_S - 61.0], hashrate_hs=1e14, hashrate_window_s=300.0, power_limit_w=3500.0,
        error_count=2.0, warning_count=1.0, work_total=7.0, work_ratio=0.5, is_work_suspect=True, is_sha256=True,
    )  # fmt: skip
    snapshot = freeze(observed)
    for column, value in (
        (snapshot.hashrate_window_s, 300.0), (snapshot.power_limit_w, 3500.0), (snapshot.error_count, 2.0),
        (snapshot.warning_count, 1.0), (snapshot.work_total[:, 3], 7.0), (snapshot.work_ratio, 0.5),
    ):  # fmt: skip
        np.testing.assert_array_equal(column, [value, NAN])
    assert snapshot.suspect.tolist() == [Suspect.WORK, 0]


def test_a_machine_that_may_not_be_asked_often_is_believed_for_longer() -> None:
    # looked at every 60 s: two of its own intervals; a pace below ours changes nothing
    observed = observe(4, hashrate_hs=1e14, seen_s=NOW_S - np.array([120.0, 121.0, 60.0, 61.0]))
    observed.valid_for_s[:] = [120.0, 120.0, 10.0, 10.0]
    np.testing.assert_array_equal(freeze(observed).hashrate_hs, [1e14, NAN, 1e14, NAN])


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (FaultKind.TIMEOUT, OperatingState.UNREACHABLE),
        (FaultKind.UNREACHABLE, OperatingState.UNREACHABLE),
        (FaultKind.REFUSED, OperatingState.UNREACHABLE),
        (FaultKind.DENIED, OperatingState.MINING),  # somebody answered, and what was said before still counts
        (FaultKind.MALFORMED, OperatingState.MINING),
        (FaultKind.IDENTITY, OperatingState.MINING),
    ],
)
def test_a_machine_that_nobody_found_is_unreachable_whatever_it_said_before(
    kind: FaultKind, state: OperatingState
) -> None:
    observed = observe(3, hashrate_hs=1e14, state=STATE_CODES[OperatingState.MINING], fault=FAULT_CODES[kind])
    observed.up[:] = [0, 0, 1]
    observed.seen_s[1] = NOW_S - 3600.0
    later = state if state is OperatingState.UNREACHABLE else OperatingState.UNKNOWN
    assert [STATES[code] for code in freeze(observed).state] == [state, later, OperatingState.MINING]


def test_the_columns_of_temperatures_keep_their_places() -> None:
    boards, chips = [(Sensor.BOARD, i) for i in range(4)], [(Sensor.CHIP, i) for i in range(4)]
    air = [(Sensor.INLET, 0), (Sensor.OUTLET, 0), (Sensor.PSU, 0)]
    assert list(SENSOR_SLOTS) == [*boards, *chips, *air, (Sensor.REGULATOR, 0)]


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hashrate_th", "expected_th", "plate_th", "is_lie"),
    [
        (129, NAN, 100, False),
        (131, NAN, 100, True),
        (131, 100, NAN, True),
        (131, NAN, NAN, False),  # nothing to compare with
        (138, 140, 100, False),  # overclocked, and says so
        (1e5, 1e5, 100, True),  # a wrong unit is wrong in both numbers
        (100, 30, 100, False),  # expects only one of its boards
        (140, 30, NAN, True),
        (NAN, 100, 100, False),
    ],
)
def test_a_hashrate_that_the_model_cannot_do_is_no_hashrate(
    hashrate_th: float, expected_th: float, plate_th: float, is_lie: bool
) -> None:
    observed = observe(
        1, hashrate_hs=hashrate_th * 1e12, hashrate_expected_hs=expected_th * 1e12,
        nameplate_hashrate_hs=plate_th * 1e12, reported_power_w=3000.0,
    )  # fmt: skip
    snapshot = freeze(observed)
    assert bool(snapshot.suspect[0] & Suspect.HASHRATE) is is_lie
    assert (snapshot.hashrate_reason[0] == Reason.IMPLAUSIBLE) == is_lie
    assert np.isnan(snapshot.hashrate_hs[0]) == (is_lie or math.isnan(hashrate_th))
    learn_steady(observed, snapshot)
    assert np.isnan(observed.steady_hashrate_hs[0]) == np.isnan(snapshot.hashrate_hs[0])


@pytest.mark.parametrize(
    ("reported_w", "hashrate_hs", "power_w", "source"),
    [
        (4500.0, 1e14, 4500.0, PowerSource.REPORTED),
        (4501.0, 1e14, 3000.0, PowerSource.NAMEPLATE),
        (-1.0, 1e14, 3000.0, PowerSource.NAMEPLATE),
        (0.0, 0.0, NAN, PowerSource.NONE),
        (4501.0, 0.0, NAN, PowerSource.NONE),
    ],
)
def test_watts_that_the_model_cannot_draw_are_not_believed(
    reported_w: float, hashrate_hs: float, power_w: float, source: PowerSource
) -> None:
    snapshot = freeze(observe(
        1, reported_power_w=reported_w, hashrate_hs=hashrate_hs, nameplate_power_w=3000.0, nameplate_hashrate_hs=1e14,
    ))  # fmt: skip
    np.testing.assert_array_equal(snapshot.power_w, [power_w])
    assert snapshot.power_source.tolist() == [source]
    is_lie = reported_w == 4501.0 or (reported_w <= 0.0 and hashrate_hs > 0.0)
    assert bool(snapshot.suspect[0] & Suspect.POWER) is is_lie
    assert np.isnan(snapshot.reported_power_w[0]) == is_lie
    if math.isnan(power_w):
        assert snapshot.power_reason[0] == (Reason.IMPLAUSIBLE if is_lie else Reason.NOT_REPORTED)


def test_the_operators_word_about_a_machine_goes_before_its_models() -> None:
    machines = (Machine("m0", hashrate_hs=2e14, power_w=6000.0), Machine("m1"))
    observed = observe(
        2, hashrate_hs=2e14, nameplate_hashrate_hs=1e14, reported_power_w=5900.0, nameplate_power_w=3000.0
    )
    assert freeze(observed, machines=machines).suspect.tolist() == [0, Suspect.HASHRATE | Suspect.POWER]


def test_work_that_does_not_fit_is_told_of_sha256_machines_only_and_used() -> None:
    observed = observe(2, hashrate_hs=1e14, work_ratio=0.5, is_work_suspect=True)
    observed.is_sha256[0] = True
    snapshot = freeze(observed)
    assert snapshot.suspect.tolist() == [Suspect.WORK, 0]
    np.testing.assert_array_equal(snapshot.work_ratio, [0.5, NAN])
    assert snapshot.hashrate_hs.tolist() == [1e14, 1e14]


@pytest.mark.parametrize(
    ("up", "seen_ago_s", "rival_ago_s", "is_conflict"),
    [(1, 0, 60, True), (1, 0, 61, False), (1, 61, 0, False), (0, 0, 0, False), (1, 0, NAN, False)],
)
def test_a_conflict_lasts_while_both_have_been_heard(
    up: float, seen_ago_s: float, rival_ago_s: float, is_conflict: bool
) -> None:
    observed = observe(1, up=up, seen_s=NOW_S - seen_ago_s, rival_s=NOW_S - rival_ago_s, hashrate_hs=1e14)
    snapshot = freeze(observed)
    assert snapshot.is_conflict.tolist() == [is_conflict]
    learn_steady(observed, snapshot)
    if is_conflict:
        assert np.isnan(observed.steady_hashrate_hs[0])


def test_a_quantity_that_was_never_said_is_missing_not_zero() -> None:
    observed = observe(3, up=[1, NAN, 0], seen_s=[NOW_S, NAN, NAN])
    snapshot = freeze(observed)
    assert np.isnan(snapshot.hashrate_hs).all()
    assert np.isnan(snapshot.power_w).all()
    expected = [Reason.NOT_REPORTED, Reason.NEVER_SEEN, Reason.UNREACHABLE]
    assert snapshot.hashrate_reason.tolist() == expected
    assert snapshot.power_reason.tolist() == expected
    assert snapshot.power_source.tolist() == [PowerSource.NONE] * 3
    assert np.isnan(snapshot.power_age_s).all()


@pytest.mark.parametrize(
    ("hashrate_hs", "state", "is_running"),
    [
        (1e14, OperatingState.MINING, True),
        (1e14, OperatingState.UNKNOWN, True),
        (1e14, OperatingState.WARMING_UP, False),
        (1e14, OperatingState.SLEEPING, False),  # an average outlasts the work by its window
        (1e14, OperatingState.IDLE, False),
        (1e14, OperatingState.FAULTED, False),
        (0.0, OperatingState.MINING, False),
        (NAN, OperatingState.MINING, False),
    ],
)
def test_a_machine_runs_when_it_hashes_past_its_warm_up(
    hashrate_hs: float, state: OperatingState, is_running: bool
) -> None:
    snapshot = freeze(observe(1, hashrate_hs=hashrate_hs, state=STATE_CODES[state]))
    assert snapshot.is_running.tolist() == [is_running]


@pytest.mark.parametrize(
    ("steady_w", "metered_w", "is_running"),
    [
        (3000.0, 601.0, True),  # one weak board of three
        (3000.0, 600.0, False),  # a fifth of what it draws: nothing hashes on that
        (3000.0, 28.0, False),
        (3000.0, NAN, True),  # no meter says otherwise
        (NAN, 28.0, True),  # nobody knows what it should draw
        (NAN, 0.0, False),  # an outlet that is off needs no comparison
    ],
)
def test_a_meter_sees_a_machine_go_dark_before_the_next_look(
    steady_w: float, metered_w: float, is_running: bool
) -> None:
    observed = observe(1, hashrate_hs=1e14, steady_power_w=steady_w, steady_hashrate_hs=9e13)
    snapshot = freeze(observed, outlets((0, metered_w, True, 1.0)))
    assert snapshot.is_running.tolist() == [is_running]


def test_a_machine_whose_meter_is_dark_does_not_run_and_teaches_nothing() -> None:
    # all answered with hash before their outlets were read; 3000 W is what they draw when they run, or not known
    observed = observe(5, hashrate_hs=1e14, hashrate_now_hs=1e14, steady_power_w=[3000, 3000, 3000, NAN, NAN])
    snapshot = freeze(observed, outlets(*((i, w, True, 0.0) for i, w in enumerate((0.0, 30.0, 1000.0, 0.0, 900.0)))))
    assert snapshot.is_running.tolist() == [False, False, True, False, True]
    learn_steady(observed, snapshot)
    np.testing.assert_array_equal(observed.steady_power_w, [3000, 3000, 1000, NAN, 900])


def test_watts_come_from_the_best_source_that_speaks() -> None:
    # each machine lacks one source more; all hash 50 TH/s of a nameplate of 100 TH/s at 3000 W
    observed = observe(
        5, seen_s=NOW_S - 10.0, hashrate_hs=5e13, reported_power_w=[3100, 3100, NAN, NAN, NAN],
        nameplate_hashrate_hs=1e14, nameplate_power_w=[3000, 3000, 3000, 3000, NAN],
    )  # fmt: skip
    machines = tuple(Machine(f"m{i}", power_w=2900.0 if i < 3 else None) for i in range(5))
    snapshot = freeze(observed, outlets((0, 3200.0, True, 4.0)), machines)
    np.testing.assert_array_equal(snapshot.power_w, [3200, 3100, 2900, 1500, NAN])
    assert snapshot.power_source.tolist() == [
        PowerSource.METERED,
        PowerSource.REPORTED,
        PowerSource.CONFIGURED,
        PowerSource.NAMEPLATE,
        PowerSource.NONE,
    ]
    np.testing.assert_array_equal(snapshot.power_age_s, [4, 10, 10, 10, NAN])
    assert snapshot.power_reason.tolist() == [0, 0, 0, 0, Reason.NOT_REPORTED]


def test_a_machine_that_hashes_and_reports_0_w_has_not_said_its_watts() -> None:
    observed = observe(1, hashrate_hs=1e14, reported_power_w=0.0)
    snapshot = freeze(observed, machines=(Machine("a", power_w=2900.0),))
    assert (snapshot.power_w[0], snapshot.power_source[0]) == (2900.0, PowerSource.CONFIGURED)


def test_beliefs_about_watts_hold_only_while_the_machine_hashes() -> None:
    observed = observe(2, hashrate_hs=0.0, nameplate_hashrate_hs=1e14, nameplate_power_w=3000.0)
    snapshot = freeze(observed, machines=(Machine("a", power_w=2900.0), Machine("b")))
    assert np.isnan(snapshot.power_w).all()


@pytest.mark.parametrize(
    ("rows", "watts", "age_s"),
    [
        ([(0, 1500.0, True, 3.0), (0, 1600.0, True, 9.0)], 3100.0, 9.0),  # two cords: the sum, as old as the older
        ([(0, 1500.0, True, 3.0), (0, NAN, True, 3.0)], NAN, NAN),  # half a machine is not metered
        ([(0, 1500.0, True, 3.0), (0, 1600.0, True, 61.0)], NAN, NAN),
        ([(0, 1500.0, True, 60.0)], 1500.0, 60.0),
        ([(0, 1500.0, True, NAN)], NAN, NAN),  # never heard
        ([(0, 1500.0, False, 3.0)], NAN, NAN),  # an estimate is not a measurement
        ([(0, 1500.0, True, 3.0), (0, 1600.0, False, 3.0)], NAN, NAN),
        ([(-1, 1500.0, True, 3.0)], NAN, NAN),  # an outlet without a machine
        ([(0, 0.0, True, 3.0)], 0.0, 3.0),  # switched off is a measurement
    ],
)
def test_metered_is_the_sum_of_measured_outlets_or_nothing(
    rows: list[tuple[int, float, bool, float]], watts: float, age_s: float
) -> None:
    snapshot = freeze(observe(2), outlets(*rows))
    np.testing.assert_array_equal(snapshot.metered_power_w, [watts, NAN])
    np.testing.assert_array_equal(snapshot.metered_age_s, [age_s, NAN])


def test_what_a_clock_that_was_set_back_has_stamped_is_too_old() -> None:
    snapshot = freeze(observe(1, hashrate_hs=1e14, reported_power_w=3100.0), outlets((0, 3000.0, True, -999.0)))
    assert (snapshot.power_w[0], snapshot.power_source[0]) == (3100.0, PowerSource.REPORTED)
    snapshot = freeze(observe(1, hashrate_hs=1e14, reported_power_w=3100.0, seen_s=NOW_S + 999.0), PduColumns())
    assert np.isnan(snapshot.power_w[0])
    assert snapshot.hashrate_reason[0] == Reason.STALE


def shared(watts: tuple[float, ...], *links: tuple[int, int, float], resolution_w: float = 10.0) -> PduColumns:
    """One PDU with banks that several machines share; each link is (bank, machine, part of it, NaN = by nameplate)."""
    meter, machine, ratio = zip(*links, strict=True)
    n = len(watts)
    return PduColumns(
        ids=("p",),
        row_pdu=np.zeros(n, np.int32),
        row_ids=tuple(map(str, range(n))),
        row_kind=np.full(n, KIND_CODES[RowKind.BANK], np.uint8),
        row_power_w=np.array(watts),
        row_is_measured=np.ones(n, bool),
        row_resolution_w=np.full(n, resolution_w),
        row_at_s=np.full(n, NOW_S - 7.0),
        link_meter=np.array(meter, np.int32),
        link_machine=np.array(machine, np.int32),
        link_ratio=np.array(ratio),
        link_is_shared=np.ones(len(links), bool),
    )


def test_one_meter_of_several_machines_is_split_as_the_operator_says() -> None:
    observed = observe(4, hashrate_hs=1e14, reported_power_w=[3000, NAN, NAN, 3000])
    pdus = shared((8000.0, 500.0), (0, 0, 0.25), (0, 1, 0.5), (0, 2, 0.25), (1, 2, 1.0), (-1, 3, 0.25), (0, 3, 0.1))
    snapshot = freeze(observed, pdus)
    # the third has a cord on another bank too; a meter that is not there leaves nothing of the fourth's
    np.testing.assert_array_equal(snapshot.power_w, [2000, 4000, 2500, 3000])
    assert snapshot.power_source.tolist() == [PowerSource.SHARED] * 3 + [PowerSource.REPORTED]
    assert np.isnan(snapshot.metered_power_w).all()
    np.testing.assert_array_equal(snapshot.power_age_s, [7, 7, 7, 0])
    # 5 % for the share, and 12 W of steps in 2500 W are nothing beside it
    np.testing.assert_allclose(snapshot.power_sigma_ratio, [0.05, 0.05, 0.05, NAN], rtol=1e-3)


@pytest.mark.parametrize(
    "said",
    [{"up": [1, 0]}, {"hashrate_hs": [1e14, 0.0]}, {"state": [MINING, WARMING]}, {"seen_s": [NOW_S, NOW_S - 999]}],
)
def test_stated_shares_are_of_machines_that_work(said: dict[str, Any]) -> None:
    observed = observe(2, **({"hashrate_hs": 1e14, "reported_power_w": 3000.0} | said))
    snapshot = freeze(observed, shared((3100.0,), (0, 0, 0.5), (0, 1, 0.5)))
    # the other half of the meter is not the other machine's
    assert snapshot.power_source[0] == PowerSource.REPORTED
    assert PowerSource.SHARED not in snapshot.power_source


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"reported_power_w": [3000, 1000, NAN]}, [3000, 1000, 2000]),  # the last by its nameplate of 2000 W
        (
            {
                "reported_power_w": [3000, 1000, 900],
                "hashrate_hs": [1e14, 1e14, 0.0],
                "state": [MINING, MINING, ASLEEP],
            },
            [3000, 1000, STANDBY_W],
        ),
        # one that warms up or has failed may draw anything, but for what it says itself
        ({"reported_power_w": [3000, 1000, NAN], "hashrate_hs": [1e14, 1e14, 0.0]}, None),
        ({"reported_power_w": [3000, 1000, 0.0], "state": [MINING, MINING, WARMING]}, None),
        ({"reported_power_w": [3000, 1000, 2500], "state": [MINING, MINING, WARMING]}, [3000, 1000, 2500]),
        ({"reported_power_w": [3000, 1000, NAN], "up": [1, 0, 1]}, None),  # nobody knows what a silent one draws
        ({"reported_power_w": [3000, 1000, NAN], "nameplate_power_w": NAN}, None),
    ],
)
def test_without_a_stated_share_a_meter_is_split_by_what_each_should_draw(
    said: dict[str, Any], parts: list[float] | None
) -> None:
    observed = observe(3, **({"hashrate_hs": 1e14, "nameplate_power_w": 2000.0} | said))
    snapshot = freeze(observed, shared((4200.0,), (0, 0, NAN), (0, 1, NAN), (0, 2, NAN)))
    if parts is None:
        assert PowerSource.SHARED not in snapshot.power_source
    else:
        np.testing.assert_allclose(snapshot.power_w, 4200.0 * np.array(parts) / sum(parts))
        assert set(snapshot.power_source) == {PowerSource.SHARED}


def test_a_part_of_a_meter_makes_nobody_dark() -> None:
    # a quarter of nearly nothing is no proof about one of the four
    observed = observe(1, hashrate_hs=1e14, steady_power_w=3000.0)
    assert freeze(observed, shared((40.0,), (0, 0, 0.25))).is_running.tolist() == [True]


def test_columns_of_pdus_that_came_later_are_filled_with_nobody_said() -> None:
    old = PduColumns(
        ids=("p", "q"), outlet_pdu=np.zeros(2, np.int32), outlet_ids=("1", "2"),
        outlet_machine=np.array([-1, 4], np.int32), outlet_power_w=np.zeros(2),
    )  # fmt: skip
    assert (old.serials, old.warnings, old.outlet_names) == (("", ""), ((), ()), ("", ""))
    assert (old.is_measured.tolist(), old.doubt.tolist()) == ([False, False], [0, 0])
    assert np.isnan(old.outlet_current_a).all()
    assert (old.link_meter.tolist(), old.link_machine.tolist(), old.link_ratio.tolist()) == ([1], [4], [1.0])
    assert old.row_ids == ()


def test_a_meter_outlives_the_machine_that_it_feeds() -> None:
    snapshot = freeze(observe(1, up=0.0, seen_s=NOW_S - 3600.0), outlets((0, 28.0, True, 3.0)))
    assert (snapshot.power_w[0], snapshot.power_source[0]) == (28.0, PowerSource.METERED)
    assert (snapshot.power_reason[0], snapshot.hashrate_reason[0]) == (Reason.NONE, Reason.UNREACHABLE)


def test_what_a_machine_could_do_is_its_own_past_then_its_model_then_a_promise() -> None:
    # 0 and 1 are of one model and have been steady, 2 is of it and has not; 3 and 4 are of models nobody has seen run
    observed = observe(
        6, up=0.0, seen_s=NAN, model_code=[0, 0, 0, 1, 1, -1],
        steady_hashrate_hs=[1.0e14, 1.1e14, NAN, NAN, NAN, NAN], steady_power_w=[3000, 3200, NAN, NAN, NAN, NAN],
        nameplate_hashrate_hs=[1.2e14] * 5 + [NAN], nameplate_power_w=[3400] * 5 + [NAN],
    )  # fmt: skip
    configured = Machine("m3", hashrate_hs=9e13, power_w=2800.0)
    machines = (Machine("m0", power_w=1.0), Machine("m1"), Machine("m2", power_w=1.0), configured,
                Machine("m4"), Machine("m5"))  # fmt: skip
    snapshot = freeze(observed, machines=machines)
    np.testing.assert_allclose(snapshot.hashrate_if_running_hs, [1.0e14, 1.1e14, 1.05e14, 9e13, 1.2e14, NAN])
    np.testing.assert_allclose(snapshot.power_if_running_w, [3000, 3200, 3100, 2800, 3400, NAN])
    ladder = [
        CapableSource.STEADY,
        CapableSource.STEADY,
        CapableSource.MODEL_MEAN,
        CapableSource.CONFIGURED,
        CapableSource.NAMEPLATE,
        CapableSource.NONE,
    ]
    assert snapshot.hashrate_if_running_source.tolist() == ladder
    assert snapshot.power_if_running_source.tolist() == ladder
    assert snapshot.standby_w.tolist() == [STANDBY_W] * 6


def test_a_model_mean_is_of_the_known_values_of_known_models() -> None:
    values = np.array([1.0, 3.0, NAN, NAN, 5.0])
    codes = np.array([0, 0, 0, 1, -1], np.int32)
    np.testing.assert_array_equal(model_mean(values, codes), [2.0, 2.0, 2.0, NAN, NAN])
    np.testing.assert_array_equal(model_mean(np.array([4.0]), np.array([-1], np.int32)), [NAN])


def test_only_a_steady_machine_teaches_what_it_can_do() -> None:
    observed = observe(
        7,
        hashrate_hs=[1e14, 1e14, 1e14, 1e14, 1e14, 0.0, 1e14],
        # steady; no short window; ramps up; window still shows stopped work; warming up; stands; steady, not measured
        hashrate_now_hs=[1.14e14, NAN, 1.16e14, 0.0, 1e14, 0.0, 1e14],
        reported_power_w=[3000, 3100, 3200, 3300, 3400, 3500, NAN],
        steady_hashrate_hs=7e13,
        steady_power_w=2000.0,
    )
    observed.state[4] = STATE_CODES[OperatingState.WARMING_UP]
    machines = (*(Machine(f"m{i}") for i in range(6)), Machine("m6", power_w=2900.0))
    learn_steady(observed, freeze(observed, machines=machines))
    assert observed.steady_hashrate_hs.tolist() == [1e14, 1e14, 7e13, 7e13, 7e13, 7e13, 1e14]
    assert observed.steady_power_w.tolist() == [3000, 3100, 2000, 2000, 2000, 2000, 2000]


def test_metered_watts_teach_before_reported_ones() -> None:
    observed = observe(1, hashrate_hs=1e14, reported_power_w=3000.0)
    learn_steady(observed, freeze(observed, outlets((0, 3250.0, True, 1.0))))
    assert observed.steady_power_w.tolist() == [3250.0]


def test_a_grown_table_keeps_its_rows_and_adds_empty_ones() -> None:
    observed = observe(2, hashrate_hs=[1e14, 2e14], model_code=3, temperature_c=50.0)
    grown, fresh = observed.grown(4), Observations.empty(2)
    for f in fields(Observations):
        column = getattr(grown, f.name)
        assert column.dtype == getattr(observed, f.name).dtype
        np.testing.assert_array_equal(column[:2], getattr(observed, f.name))
        np.testing.assert_array_equal(column[2:], getattr(fresh, f.name))
    assert grown.model_code.tolist() == [3, 3, -1, -1]


def test_the_first_rows_of_a_table_are_the_table() -> None:
    observed = observe(3, hashrate_hs=[1e14, 2e14, 3e14])
    observed.first(2).hashrate_hs[1] = 5e14
    assert observed.hashrate_hs.tolist() == [1e14, 5e14, 3e14]
    assert all(len(getattr(observed.first(2), f.name)) == 2 for f in fields(Observations))


def test_columns_that_came_later_are_missing_in_what_was_written_before() -> None:
    whole = freeze(observe(2, hashrate_hs=1e14))
    later = ("hashrate_window_s", "power_limit_w", "error_count", "warning_count", "work_total", "work_ratio",
             "suspect", "is_conflict", "metered_resolution_w", "power_sigma_ratio", "calibration_ratio",
             "calibration_spread_ratio", "meter_doubt")  # fmt: skip
    old = Snapshot(**{f.name: getattr(whole, f.name) for f in fields(Snapshot) if f.name not in later})
    assert np.isnan(old.power_limit_w).all()
    assert old.work_total.shape == (2, len(WORK_SLOTS))
    assert (old.suspect.tolist(), old.is_conflict.tolist()) == ([0, 0], [False, False])
    assert all(getattr(old, name).dtype == getattr(whole, name).dtype for name in later)


def test_a_frozen_fleet_cannot_be_changed_nor_does_it_change_with_its_source() -> None:
    observed = observe(1, hashrate_hs=1e14, reported_power_w=3000.0, steady_hashrate_hs=1e14, steady_power_w=3000.0)
    snapshot = freeze(observed)
    before = {f.name: np.copy(getattr(snapshot, f.name)) for f in fields(Snapshot) if f.name not in ("infos", "pdus")}
    for f in fields(Snapshot):
        column = getattr(snapshot, f.name)
        if isinstance(column, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                column[...] = 0
    for f in fields(Observations):
        getattr(observed, f.name)[...] = 0
    for name, column in before.items():
        np.testing.assert_array_equal(getattr(snapshot, name), column)


def test_an_empty_farm_is_a_fleet_too() -> None:
    assert len(freeze(Observations.empty(0))) == 0
