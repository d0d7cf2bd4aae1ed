"""How the machines of the virtual farm behave: hash, watts at the wall, heat and time; one numpy row per machine.

`Build` is what the machines are, `Orders` what their outlets and operators say, `State` what they do. `advance` is
pure: the same build, state, orders and random generator give the same next state, whatever the wall clock says.
The model is small, but its numbers hang together: hash follows the frequency ramp, watts follow hash and heat, heat
follows watts and room, and the energy counter is the integral of the watts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RISE_C = 38.0
"""Board over room at nameplate power; a stock air-cooled machine in a 25 degree room shows 60 to 70 on the board."""
CHIP_RISE_C = 12.0
"""Chip over board at nameplate power."""
THERMAL_S = 150.0
"""Time constant of a machine's heat."""
LEAK_PER_C = 0.0015
"""Share of extra watts per degree of board over its nameplate temperature."""
DRIFT_RATIO, DRIFT_S = 0.006, 900.0
"""Slow wander of the frequency: standard deviation, correlation time."""
LUCK_RATIO = 0.02
"""How far a 5 s hashrate strays from the truth; share luck, not physics."""
FAN_IDLE_RPM, FAN_FULL_RPM = 960.0, 6600.0
"""960 is what a sleeping S19 shows."""
WINDOWS_S: Mapping[str, float] = {"5s": 5.0, "1m": 60.0, "5m": 300.0, "15m": 900.0, "30m": 1800.0}
"""Rate windows that firmware reports, as decaying averages."""


@dataclass(frozen=True, slots=True)
class Model:
    """One bin of one model, as its nameplate says. `hull` is the name on the wire where it differs from the name."""

    name: str
    dialect: str  # which firmware answers on 4028: "antminer", "whatsminer-v1", "whatsminer-v2"
    hashrate_th: float
    wall_w: float
    chips_per_board: int
    hull: str = ""
    boards: int = 3

    @property
    def wire_name(self) -> str:
        return self.hull or self.name


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("Antminer S19", "antminer", 95, 3250, 76),
        Model("Antminer S19 Pro", "antminer", 110, 3250, 114),
        Model("Antminer S19j Pro", "antminer", 104, 3068, 126),
        Model("Antminer S19 XP", "antminer", 140, 3010, 110),
        Model("Antminer S21", "antminer", 200, 3500, 108),
        Model("WhatsMiner M30S++", "whatsminer-v1", 112, 3472, 74, hull="M30S++_VH51"),
        Model("WhatsMiner M50", "whatsminer-v2", 114, 3306, 105, hull="M50_VH51"),
        Model("WhatsMiner M60S", "whatsminer-v2", 186, 3441, 245, hull="M60S_VK31"),
    )
}
"""Nameplates as the makers print them."""

DEFAULT_MIX: Mapping[str, float] = {
    "Antminer S19j Pro": 0.35,
    "Antminer S19 XP": 0.20,
    "Antminer S21": 0.25,
    "WhatsMiner M50": 0.20,
}


@dataclass(frozen=True, eq=False)
class Build:
    """What each machine is. All columns (n,): H/s, W, W/K, ratios, seconds.

    `firmware_ratio` is reported over true watts: 5 to 20 per cent off, for most machines too low.
    """

    models: tuple[Model, ...]  # per row
    hashrate_hs: Floats
    wall_w: Floats
    standby_w: Floats
    firmware_ratio: Floats
    reject_ratio: Floats
    boot_s: Floats
    warmup_s: Floats

    def __len__(self) -> int:
        return len(self.models)

    @property
    def conductance_w_c(self) -> Floats:
        return self.wall_w / RISE_C


@dataclass(eq=False)
class Orders:
    """What outlets and operators want. The only mutable part: whoever holds it flips its rows."""

    outlet_on: Bools
    awake: Bools

    @classmethod
    def all_on(cls, n: int) -> Orders:
        return cls(np.ones(n, bool), np.ones(n, bool))


@dataclass(frozen=True, eq=False)
class State:
    """What each machine does now. All columns (n,).

    `powered_s` since the outlet came on, `api_s` since the API answers (0 = not yet), `mining_s` since the ramp began.
    `hashes` is the work since the API answers, `energy_j` the outlet's lifetime meter. `rates_hs[window]` are averages.
    """

    powered_s: Floats
    api_s: Floats
    mining_s: Floats
    hashrate_hs: Floats
    rates_hs: Mapping[str, Floats]
    hashes: Floats
    wall_w: Floats
    energy_j: Floats
    board_c: Floats
    fan_rpm: Floats
    drift: Floats
    ambient_c: float

    @property
    def is_online(self) -> Bools:
        """The machine's network is up."""
        return self.api_s > 0.0


def assemble(
    n: int,
    mix: Mapping[str, float] = DEFAULT_MIX,
    seed: int = 1,
    boot_s: float = 45.0,
    warmup_s: float = 300.0,
    firmware_ratio: Mapping[str, float] = MappingProxyType({}),
) -> Build:
    """`n` machines in the shares of `mix`, each a little off its nameplate. The same seed gives the same farm.

    `firmware_ratio`: reported over true watts of all machines of a model; the others' lies 5 to 20 per cent off.

    Errors: KeyError for a model that MODELS does not have; ValueError for an empty mix.
    """
    if n < 0 or not mix or sum(mix.values()) <= 0:
        raise ValueError("a farm needs a mix with a positive share and a count that is not negative")
    rng = np.random.default_rng(seed)
    names = sorted(mix)
    shares = np.array([mix[name] for name in names], float)
    counts = np.floor(n * shares / shares.sum()).astype(int)
    counts[np.argsort(-shares, kind="stable")[: n - counts.sum()]] += 1
    chosen = rng.permutation(np.repeat(np.arange(len(names)), counts))
    models = tuple(MODELS[names[i]] for i in chosen)
    off = rng.uniform(0.05, 0.20, n) * np.where(rng.random(n) < 0.8, -1.0, 1.0)
    return Build(
        models=models,
        hashrate_hs=np.array([m.hashrate_th for m in models], float)
        * 1e12
        * (1 + rng.normal(0, 0.015, n).clip(-0.04, 0.04)),
        wall_w=np.array([m.wall_w for m in models], float) * (1 + rng.normal(0.01, 0.02, n).clip(-0.05, 0.06)),
        standby_w=rng.uniform(12.0, 22.0, n),
        firmware_ratio=np.array([firmware_ratio.get(m.name, r) for m, r in zip(models, 1.0 + off, strict=True)], float),
        reject_ratio=rng.uniform(0.001, 0.008, n),
        boot_s=np.full(n, boot_s) * rng.uniform(0.8, 1.2, n),
        warmup_s=np.full(n, warmup_s) * rng.uniform(0.8, 1.2, n),
    )


def settle(build: Build, orders: Orders, ambient_c: float, seed: int = 1) -> State:
    """The farm after hours of the same orders: warm machines with histories of different length."""
    rng = np.random.default_rng((seed, 2))
    n = len(build)
    mining = orders.outlet_on & orders.awake
    api_s = np.where(orders.outlet_on, rng.uniform(2.0, 400.0, n) * 3600.0, 0.0)
    drift = rng.normal(0.0, DRIFT_RATIO, n)
    hashrate = np.where(mining, build.hashrate_hs * (1.0 + drift), 0.0)
    # At equilibrium heat and leakage agree: w = w0 (1 + k (ambient + w/G - nominal)), solved for w.
    w0 = build.wall_w * (1.0 + drift)
    excess_c = ambient_c - _NOMINAL_BOARD_C
    wall = w0 * (1.0 + LEAK_PER_C * excess_c) / (1.0 - w0 * LEAK_PER_C / build.conductance_w_c)
    wall = np.where(mining, wall, np.where(orders.outlet_on, build.standby_w, 0.0))
    board = ambient_c + wall / build.conductance_w_c
    return State(
        powered_s=np.where(orders.outlet_on, api_s + build.boot_s, 0.0),
        api_s=api_s,
        mining_s=np.where(mining, api_s, 0.0),
        hashrate_hs=hashrate,
        rates_hs={window: hashrate.copy() for window in WINDOWS_S},
        hashes=hashrate * api_s,
        wall_w=wall,
        energy_j=rng.uniform(0.5, 20.0, n) * 3.6e9,
        board_c=board,
        fan_rpm=_fan_rpm(board, orders.outlet_on),
        drift=drift,
        ambient_c=ambient_c,
    )


_NOMINAL_BOARD_C = 25.0 + RISE_C


def advance(
    build: Build, state: State, orders: Orders, ambient_c: float, dt_s: float, rng: np.random.Generator
) -> State:
    """The farm `dt_s` later, under constant orders and room temperature.

    The heat step is exact for constant watts and the averages are decays, so a coarse step is inaccurate but never
    unstable. A machine whose outlet is off forgets its session; only the outlet's energy meter goes on counting.
    """
    on = orders.outlet_on
    powered_s = np.where(on, state.powered_s + dt_s, 0.0)
    api_s = np.maximum(powered_s - build.boot_s, 0.0)
    mining = on & orders.awake & (api_s > 0.0)
    mining_s = np.where(mining, np.minimum(state.mining_s + dt_s, api_s), 0.0)
    ramp = np.clip(mining_s / np.maximum(build.warmup_s, 1e-9), 0.0, 1.0)

    keep = math.exp(-dt_s / DRIFT_S)
    n = len(build)
    drift = state.drift * keep + rng.normal(0.0, DRIFT_RATIO * math.sqrt(1.0 - keep * keep), n)
    hashrate = build.hashrate_hs * ramp * (1.0 + drift)
    active_w = build.wall_w * (1.0 + drift) * (1.0 + LEAK_PER_C * (state.board_c - _NOMINAL_BOARD_C))
    wall = np.where(on, build.standby_w + ramp * (active_w - build.standby_w), 0.0)
    energy_j = state.energy_j + wall * dt_s

    resting_c = ambient_c + wall / build.conductance_w_c
    board = resting_c + (state.board_c - resting_c) * math.exp(-dt_s / THERMAL_S)

    is_same_session = state.api_s > 0.0
    hashes = np.where(api_s > 0.0, np.where(is_same_session, state.hashes, 0.0) + hashrate * dt_s, 0.0)
    lucky = np.maximum(hashrate * (1.0 + rng.normal(0.0, LUCK_RATIO, n)), 0.0)
    rates = {}
    for window, length_s in WINDOWS_S.items():
        # A young session averages over what there is of it, as cgminer does.
        weight = np.minimum(dt_s / np.maximum(np.minimum(length_s, api_s), dt_s), 1.0)
        before = np.where(is_same_session, state.rates_hs[window], 0.0)
        rates[window] = np.where(api_s > 0.0, before + (lucky - before) * weight, 0.0)
    return State(
        powered_s=powered_s,
        api_s=api_s,
        mining_s=mining_s,
        hashrate_hs=hashrate,
        rates_hs=rates,
        hashes=hashes,
        wall_w=wall,
        energy_j=energy_j,
        board_c=board,
        fan_rpm=_fan_rpm(board, on),
        drift=drift,
        ambient_c=ambient_c,
    )


def _fan_rpm(board_c: Floats, on: Bools) -> Floats:
    """Fans idle up to 40 degrees on the board and are full at 75."""
    effort = np.clip((board_c - 40.0) / 35.0, 0.0, 1.0)
    return np.where(on, FAN_IDLE_RPM + effort * (FAN_FULL_RPM - FAN_IDLE_RPM), 0.0)
