"""The fall of bitcoin in February 2026, minute by minute: how often the advice turns, and what it keeps.

From 73,100 USD to 60,000 within 30 hours, back to 71,400 and a retarget of -11.16 % at hour 63. Prices of market
articles, joined by straight lines, with noise of 0.6 % that forgets in an hour; 20 draws of it at once. The expected
numbers come from a simulation that was written without this code: the mean over draws of switches, and of USD per
machine in five days, where each switch costs half of a stop and start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cycles import make_economics, make_snapshot, make_valuation

from fleet.curtailment import Memory, Policy, recommend
from fleet.economics import dispatch_of
from fleet.market import MarketInput
from fleet.signals import Signals
from fleet.site import Machine, Site

T0_S = 1_770_249_600.0  # 2026-02-05T00:00Z
KNOTS = [
    (0, 73_100), (6, 74_000), (24, 62_600), (30, 60_000), (44, 71_400), (48, 70_000), (54, 68_500), (72, 69_400),
    (96, 70_400), (120, 69_000),
]  # fmt: skip
FEE, REJECT, OVERHEAD, K_USD, REWARD_BTC = 0.01, 0.004, 0.05, 0.10, 3.15
DRAWS = 20
CLASSES = [(100, 29.5, 0.050), (140, 21.5, 0.050), (140, 21.5, 0.058), (200, 17.5, 0.050)]  # TH/s, J/TH, USD/kWh
CERTAINTIES = [(0.0, 0.01), (1.0, 0.01), (1.0, 0.10)]  # certainty_sigmas, sigma of the watts
AT_ONCE = Policy(stop_start_cost_usd=K_USD, min_up_s=0.0, min_down_s=0.0, stop_ramp_ratio=1.0, start_ramp_ratio=1.0)

Floats = npt.NDArray[np.float64]


def hashprices() -> Floats:
    """USD/PH/day, (minutes, draws)."""
    hours = np.arange(0.0, 120.0, 1 / 60)
    btc_usd = np.interp(hours, *np.transpose(KNOTS))
    difficulty = np.where(hours < 63.0, 141.668e12, 125.864e12)
    random, noise, path = np.random.default_rng(5), np.zeros(DRAWS), []
    for quiet in btc_usd / difficulty:
        noise = 0.98 * noise + 0.0012 * random.standard_normal(DRAWS)
        path.append(quiet * np.exp(noise))
    return 86_400 * 1e15 / 2**32 * REWARD_BTC * np.array(path)


@pytest.fixture(scope="module")
def told() -> tuple[Floats, Floats]:
    """Switches and USD in five days, (certainties, classes), means over the draws.

    One row per certainty, class and draw; the decision of a minute sees the prices of the minute before.
    """
    shape = (len(CERTAINTIES), len(CLASSES), DRAWS)
    th, j_per_th, usd_kwh = (np.array(column)[None, :, None] for column in zip(*CLASSES, strict=True))
    sigmas, watt_sigma = (np.array(column)[:, None, None] for column in zip(*CERTAINTIES, strict=True))
    cost = np.broadcast_to(th * j_per_th / 1000 * (1 + OVERHEAD) * usd_kwh, shape)
    ids = tuple(f"m{i}" for i in range(int(np.prod(shape))))
    watts = np.broadcast_to(th * j_per_th, shape).ravel()
    snapshot = make_snapshot(
        ids, up=np.ones(len(ids)), power_w=watts, power_if_running_w=watts, is_running=np.ones(len(ids))
    )
    site, valuation = Site("north", tuple(map(Machine, ids))), make_valuation()
    assert set(valuation.states) == {
        MarketInput.DIFFICULTY, MarketInput.HEIGHT, MarketInput.BLOCK_FEES_BTC, MarketInput.BTC_USD
    }  # fmt: skip
    memory, switches, usd = Memory(), np.zeros(shape), np.zeros(shape)
    seen: dict[str, Any] = {}
    for minute, hashprice in enumerate(hashprices()):
        revenue = np.broadcast_to(hashprice / 24 * th / 1000 * (1 - FEE) * (1 - REJECT), shape)
        margin = revenue - cost
        if seen:
            decision, memory = recommend(
                site, snapshot, valuation, make_economics(len(ids), **seen), Signals(), AT_ONCE, memory,
                T0_S + 60.0 * minute,
            )  # fmt: skip
            switches += decision.changed.reshape(shape)
            usd += (
                np.where(memory.stopped.reshape(shape), 0.0, margin / 60) - decision.changed.reshape(shape) * K_USD / 2
            )
        error = np.sqrt(revenue**2 * (0.01**2 + 0.02**2) + cost**2 * watt_sigma**2)
        dispatch = dispatch_of(margin, sigmas * error, np.full(shape, np.nan), 1.0)
        seen = {"margin_usd_h": margin.ravel(), "dispatch": dispatch.ravel(), "breakeven_usd_kwh": np.ones(len(ids))}
    return switches.mean(axis=2), usd.mean(axis=2)


def test_the_fall_turns_the_machines_that_matter_twice_and_no_other(told: tuple[Floats, Floats]) -> None:
    switches, usd = told
    np.testing.assert_allclose(switches[0], [1, 0, 2, 0], atol=0.2)
    np.testing.assert_allclose(usd[0], [-0.10, 3.55, 0.92, 10.11], atol=0.03)


def test_a_doubt_that_bars_a_turn_keeps_what_was_kept_and_turns_no_oftener(told: tuple[Floats, Floats]) -> None:
    switches, usd = told
    assert (switches[1:] <= switches[0] + 1e-9).all()
    np.testing.assert_allclose(usd[1], usd[0], atol=0.01)  # metered watts
    np.testing.assert_allclose(usd[2], [-0.10, 3.55, 0.80, 10.11], atol=0.05)  # the machine's own, 10 % off or not
    assert usd[2, 2] > 0.51  # more than always on
