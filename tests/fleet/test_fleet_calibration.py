"""What a machine's word is worth in metered watts: who teaches, how a mean follows and resists, whom a model helps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleet.calibration import calibrate, learn_ratios, model_ratio
from fleet.economics import appraise
from fleet.market import Market, MarketInput, Quote, assess
from fleet.readings import OperatingState, PowerSource
from fleet.site import Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, PduDoubt, Snapshot, assemble

NOW_S = 1_800_000_000.0
VALID_S = 120.0
NAN = math.nan
Floats = npt.NDArray[np.float64]


def machines(n: int, **columns: Any) -> Observations:
    """`n` S21 that answered 5 s ago: 200 TH/s, 3500 W by their own word, all of one model."""
    observed = Observations.empty(n)
    said = {
        "up": 1.0,
        "seen_s": NOW_S - 5.0,
        "hashrate_hs": 2e14,
        "hashrate_now_hs": 2e14,
        "reported_power_w": 3500.0,
        "is_sha256": True,
        "state": STATE_CODES[OperatingState.MINING],
        "model_code": 0,
        "calibration_code": 0,
    }
    for name, values in (said | columns).items():  # fmt: skip
        getattr(observed, name)[:] = values
    return observed


def meters(watts: list[float], resolution_w: float = 1.0, age_s: float = 8.0, shared: bool = False) -> PduColumns:
    """One outlet for each of the first machines; NaN = it says nothing."""
    n = len(watts)
    return PduColumns(
        ids=("p",),
        outlet_pdu=np.zeros(n, np.int32),
        outlet_ids=tuple(map(str, range(n))),
        outlet_machine=np.arange(n, dtype=np.int32),
        outlet_power_w=np.array(watts),
        outlet_is_measured=np.ones(n, bool),
        outlet_at_s=np.full(n, NOW_S - age_s),
        outlet_resolution_w=np.full(n, resolution_w),
        link_meter=np.arange(n, dtype=np.int32),
        link_machine=np.arange(n, dtype=np.int32),
        link_ratio=np.full(n, 1.0),
        link_is_shared=np.full(n, shared),
    )


def look(observed: Observations, pdus: PduColumns, now_s: float = NOW_S) -> Snapshot:
    n = len(observed.up)
    site = Site("north", tuple(Machine(f"m{i}") for i in range(n)))
    return assemble(site, observed, (MachineInfo(),) * n, pdus, now_s, VALID_S)


def learn(observed: Observations, watts: list[list[float]], step_s: float = 30.0, **how: Any) -> Observations:
    """One look per row of `watts`, `step_s` apart; everybody answers anew for each."""
    for number, row in enumerate(watts):
        now_s = NOW_S + number * step_s
        observed.seen_s[:] = now_s - 5.0
        pdus = meters(row, **how)
        pdus.outlet_at_s += number * step_s
        learn_ratios(observed, look(observed, pdus, now_s))
    return observed


def test_ten_looks_make_a_ratio_of_ones_own() -> None:
    observed = learn(machines(1), [[3850.0]] * 9)
    calibrate(observed)
    assert np.isnan(observed.calibration_ratio).all()
    learn(observed, [[3850.0]] * 10, step_s=300.0)
    calibrate(observed)
    # 3850 W for 3500 W said, and 3850 W / 200 TH/s = 19.25 J/TH
    np.testing.assert_allclose(observed.calibration_ratio, [[1.1, 19.25e-12]])
    # a meter of 1 W steps rounds by 0.29 W: 0.0075 % of 3850 W
    np.testing.assert_allclose(observed.calibration_spread[0], 0.289 / 3850.0, rtol=0.01)


def test_the_first_looks_are_a_plain_mean_with_their_scatter() -> None:
    observed = learn(machines(1), [[3500.0 * ratio] for ratio in (1.0, 1.1, 1.05, 1.09, 1.01)], resolution_w=0.0)
    assert observed.ratio_mean[0, 0] == pytest.approx(1.05)
    # deviations -0.05, 0.05, 0, 0.04, -0.04: their mean square is 0.00164
    assert observed.ratio_variance[0, 0] == pytest.approx(0.00164)
    assert observed.ratio_samples[0].tolist() == [5.0, 5.0]


def test_a_pdu_that_tells_the_same_for_minutes_teaches_nothing() -> None:
    observed = machines(2)
    pdus = replace(
        meters([3850.0, 3850.0]),
        ids=("still", "moves"),
        outlet_pdu=np.array([0, 1], np.int32),
        changed_s=np.array([NOW_S - 300.0, NOW_S - 299.0]),
    )
    learn_ratios(observed, look(observed, pdus))
    assert observed.ratio_samples[:, 0].tolist() == [0.0, 1.0]


def test_a_single_lie_moves_little_and_a_lasting_change_is_followed() -> None:
    observed = learn(machines(1), [[3500.0]] * 100)
    observed.ratio_at_s[:] = NOW_S - 30.0
    learn(observed, [[5000.0]])
    # it counts as 2 % off, with the weight of 25 s (the newest word is the machine's, 5 s old) in a quarter of an hour
    assert observed.ratio_mean[0, 0] == pytest.approx(1.0 + 0.02 * (1.0 - math.exp(-25.0 / 900.0)))
    observed = learn(machines(1), [[3500.0]] * 100)
    observed.ratio_at_s[:] = NOW_S - 30.0
    learn(observed, [[3675.0]] * 180)  # an hour and a half of 5 % more
    assert observed.ratio_mean[0, 0] == pytest.approx(1.05, abs=0.001)


def test_a_look_at_nothing_new_teaches_nothing() -> None:
    observed = machines(1)
    for now_s in (NOW_S, NOW_S + 10.0, NOW_S + 20.0):
        learn_ratios(observed, look(observed, meters([3600.0]), now_s))
    assert observed.ratio_samples[0, 0] == 1.0
    observed.seen_s[:] = NOW_S + 25.0
    learn_ratios(observed, look(observed, meters([3600.0]), NOW_S + 30.0))
    assert observed.ratio_samples[0, 0] == 2.0


def test_an_hour_without_a_meter_makes_no_sample_heavier() -> None:
    observed = learn(machines(1), [[3500.0]] * 100)
    observed.ratio_at_s[:] = NOW_S - 3600.0
    learn(observed, [[3535.0]])
    weight = 1.0 - math.exp(-120.0 / 900.0)
    assert observed.ratio_mean[0, 0] == pytest.approx(1.0 + 0.01 * weight, rel=1e-6)


@pytest.mark.parametrize(
    ("said", "how", "is_taught"),
    [
        ({}, {}, (True, True)),
        ({"reported_power_w": NAN}, {}, (False, True)),
        ({"hashrate_now_hs": 1.5e14}, {}, (False, False)),  # ramps
        ({"state": STATE_CODES[OperatingState.WARMING_UP]}, {}, (False, False)),
        ({"up": 0.0}, {}, (False, False)),
        ({"rival_s": NOW_S}, {}, (False, False)),  # another one has its name
        ({}, {"resolution_w": 180.0}, (True, True)),  # 5 % of 3600 W
        ({}, {"resolution_w": 181.0}, (False, False)),
        ({}, {"resolution_w": NAN}, (True, True)),  # nobody says that it is coarse
        ({}, {"age_s": 65.0}, (True, True)),
        ({}, {"age_s": 66.0}, (False, False)),  # a minute and a second from the reading
        ({"reported_power_w": 1799.0}, {}, (False, False)),  # twice its word: the meter is not its own, or not alone
        ({"reported_power_w": 7201.0}, {}, (False, True)),
        ({"hashrate_hs": 5e12, "hashrate_now_hs": 5e12}, {}, (True, False)),  # 720 J/TH
        ({}, {"shared": True}, (False, False)),
    ],
)
def test_only_a_steady_machine_on_a_meter_of_its_own_teaches(
    said: dict[str, Any], how: dict[str, Any], is_taught: tuple[bool, bool]
) -> None:
    observed = machines(1, **said)
    learn_ratios(observed, look(observed, meters([3600.0], **how)))
    assert (observed.ratio_samples[0] > 0).tolist() == list(is_taught)


def test_a_pdu_that_tells_the_same_for_ever_teaches_nothing() -> None:
    observed, pdus = machines(2), meters([3600.0, 3600.0])
    pdus.ids, pdus.doubt = ("p", "q"), np.array([PduDoubt.FROZEN, PduDoubt.SUM], np.uint8)
    pdus.outlet_pdu = np.array([0, 1], np.int32)
    learn_ratios(observed, look(observed, pdus))
    assert observed.ratio_samples[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("own", "samples", "ratio", "error"),
    [
        ([1.02, 1.10, 1.04], 10.0, 1.04, 1.4826 * 0.02 / 1.04),  # |deviations| 0.02, 0.06, 0: their middle is 0.02
        ([1.0, 1.1, 1.2, 9.0], 10.0, 1.15, 1.4826 * 0.1 / 1.15),  # deviations 0.15, 0.05, 0.05, 7.85
        ([1.02, 1.10], 10.0, NAN, NAN),
        ([1.02, 1.10], 60.0, 1.06, 0.05),  # nobody knows how far machines are apart
        ([1.02], 59.0, NAN, NAN),
        ([1.02], 60.0, 1.02, 0.05),
    ],
)
def test_a_model_is_what_three_machines_or_an_hour_say(
    own: list[float], samples: float, ratio: float, error: float
) -> None:
    n = len(own)
    column = np.array([*own, NAN, NAN, 5.0])
    code = np.array([*([1] * n), 1, 0, -1], np.int32)
    seen = np.array([*([samples] * n), 0.0, 0.0, 900.0])
    of_model, spread = model_ratio(column, np.where(np.isnan(column), NAN, 0.0), seen, code, np.ones(n + 3, bool))
    np.testing.assert_allclose(of_model, [*([ratio] * n), ratio, NAN, NAN])
    np.testing.assert_allclose(spread, [*([error] * n), error, NAN, NAN])


@pytest.mark.parametrize(
    ("word", "work", "plate_w", "lent"),
    [
        ([1.1], [19e-12], NAN, [1.1, 19e-12]),  # its word is right, so its line is, so its work may be lent too
        ([1.4], [24e-12], 3500.0, [NAN, NAN]),  # 17.5 J/TH on the plate: more likely another's outlet than the firmware
        ([1.4], [19e-12], 3500.0, [NAN, 19e-12]),
        ([NAN], [19e-12], 3500.0, [NAN, 19e-12]),
        ([NAN], [24e-12], 3500.0, [NAN, NAN]),
        ([NAN], [19e-12], NAN, [NAN, NAN]),  # nobody knows whether that can be
        ([1.4, 1.1], [24e-12, 19e-12], 3500.0, [1.1, 19e-12]),  # the one that looks right speaks
        (
            [1.4, 1.38, 1.42],
            [24e-12, 24e-12, 25e-12],
            3500.0,
            [1.4, 24e-12],
        ),  # three do not err alike: it is the firmware
    ],
)
def test_one_or_two_machines_speak_for_their_model_only_if_they_look_right(
    word: list[float], work: list[float], plate_w: float, lent: list[float]
) -> None:
    n = len(word)
    observed = machines(n + 1, nameplate_hashrate_hs=2e14, nameplate_power_w=plate_w)
    observed.ratio_mean[:n] = np.column_stack([word, work])
    observed.ratio_variance[:n] = 0.0
    observed.ratio_samples[:n] = 60.0 * ~np.isnan(observed.ratio_mean[:n])
    calibrate(observed)
    np.testing.assert_allclose(observed.calibration_ratio[n], lent)


def test_the_scatter_of_its_machines_is_part_of_what_a_model_is_off_by() -> None:
    column, scatter = np.full(3, 1.1), np.array([0.03, 0.04, 0.05])
    _, spread = model_ratio(column, scatter, np.full(3, 10.0), np.zeros(3, np.int32), np.zeros(3, bool))
    np.testing.assert_allclose(spread, 0.04)


@given(hnp.arrays(np.float64, st.integers(0, 12), elements=st.floats(0.5, 2.0)), st.integers(1, 3))
def test_medians_of_models_are_those_of_numpy(values: Floats, models: int) -> None:
    code = (np.arange(len(values)) % models).astype(np.int32)
    n = len(values)
    ratio, _ = model_ratio(values, np.zeros(n), np.full(n, 60.0), code, np.ones(n, bool))
    for model in range(models):
        np.testing.assert_allclose(
            ratio[code == model], np.median(values[code == model]) if len(values) > model else []
        )


def test_calibrated_watts_stand_in_where_no_meter_is() -> None:
    # 0 has its own ratio; 1 to 3 are of its model: one reports watts, one none, one sleeps; 4 is of another model
    observed = machines(5, reported_power_w=[3500, 3600, NAN, 30, 3500], model_code=[0, 0, 0, 0, 1])
    observed.calibration_code[4] = 1
    observed.state[3] = STATE_CODES[OperatingState.SLEEPING]
    learn(observed, [[3850.0]] * 60)
    calibrate(observed)
    observed.seen_s[:] = NOW_S - 5.0
    snapshot = look(observed, PduColumns())
    np.testing.assert_allclose(snapshot.power_w, [3850, 3960, 3850, 30, 3500])
    sources = [PowerSource.CALIBRATED] * 3 + [PowerSource.REPORTED] * 2
    assert snapshot.power_source.tolist() == sources
    np.testing.assert_allclose(snapshot.calibration_ratio, [1.1, 1.1, 1.1, 1.1, NAN])
    # its own meter: 1 % and what little it scattered; the model: 5 % as well
    np.testing.assert_allclose(snapshot.power_sigma_ratio, [0.01, 0.051, 0.051, NAN, NAN], rtol=0.01)


def test_the_spread_of_a_calibration_reaches_the_error_of_the_margin() -> None:
    observed = machines(2)
    observed.calibration_ratio[0, 0], observed.calibration_spread[0, 0] = 1.0, 0.06
    site = Site("north", (Machine("m0"), Machine("m1")))
    snapshot = assemble(site, observed, (MachineInfo(),) * 2, meters([NAN, 3500.0], resolution_w=700.0), NOW_S, VALID_S)
    assert snapshot.power_source.tolist() == [PowerSource.CALIBRATED, PowerSource.METERED]
    # hypot(1 %, 6 %), and hypot(1 %, 700 W / sqrt(12) of 3500 W = 5.77 %)
    np.testing.assert_allclose(snapshot.power_sigma_ratio, [0.0608, 0.0586], atol=1e-4)
    quotes = tuple(
        Quote(input, "fixed", value, NOW_S, math.inf, math.inf)
        for input, value in ((MarketInput.DIFFICULTY, 1.4e14), (MarketInput.HEIGHT, 935_140.0),
                             (MarketInput.BLOCK_FEES_BTC, 0.02), (MarketInput.BTC_USD, 70_000.0))
    )  # fmt: skip
    terms = replace(site.terms, hashprice_sigma_ratio=0.0, hashrate_sigma_ratio=0.0)
    site = replace(site, terms=terms)
    money = appraise(site, snapshot, assess(Market(quotes), 0.05, "flat", NOW_S), np.zeros(2, bool))
    # 3.5 kW with 5 % losses at 5 cents are 18.375 cents an hour
    np.testing.assert_allclose(money.margin_error_usd_h, 0.18375 * snapshot.power_sigma_ratio)
