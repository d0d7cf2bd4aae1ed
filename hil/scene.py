"""What every wire of the farm shows at this moment: one physics state, one wall-clock time, shared by all servers.

Servers ask for single rows thousands of times a second; a numpy scalar costs more than the rest of the reply, so the
columns are turned into lists once per tick, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from hil.physics import Build, Orders, State, advance


class View:
    """One tick as plain lists, each made on first use."""

    def __init__(self, state: State, now_s: float) -> None:
        self.state = state
        self.now_s = now_s
        self.when = int(now_s)

    @cached_property
    def api_s(self) -> list[float]:
        return _plain(self.state.api_s)

    @cached_property
    def mining_s(self) -> list[float]:
        return _plain(self.state.mining_s)

    @cached_property
    def hashes(self) -> list[float]:
        return _plain(self.state.hashes)

    @cached_property
    def rates_hs(self) -> Mapping[str, list[float]]:
        return {window: _plain(column) for window, column in self.state.rates_hs.items()}

    @cached_property
    def wall_w(self) -> list[float]:
        return _plain(self.state.wall_w)

    @cached_property
    def energy_j(self) -> list[float]:
        return _plain(self.state.energy_j)

    @cached_property
    def board_c(self) -> list[float]:
        return _plain(self.state.board_c)

    @cached_property
    def fan_rpm(self) -> list[float]:
        return _plain(self.state.fan_rpm)


def _plain(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    values: list[float] = column.tolist()
    return values


class Scene:
    """The farm's present. `tick` moves it on; everything else only looks."""

    def __init__(self, build: Build, orders: Orders, state: State, now_s: float, seed: int = 1) -> None:
        self.build = build
        self.orders = orders
        self.view = View(state, now_s)
        self.started_s = now_s
        self._rng = np.random.default_rng((seed, 3))

    def tick(self, dt_s: float, now_s: float, ambient_c: float) -> None:
        """Physics `dt_s` further, shown at wall-clock time `now_s`."""
        self.view = View(advance(self.build, self.view.state, self.orders, ambient_c, dt_s, self._rng), now_s)

    def bend(self, rows: Sequence[int], ratio: float) -> None:
        """Lets the firmware of these rows report `ratio` times the true watts from now on."""
        bent = self.build.firmware_ratio.copy()
        bent[list(rows)] = ratio
        self.build = replace(self.build, firmware_ratio=bent)
        self.firmware_ratio = _plain(bent)

    @cached_property
    def firmware_ratio(self) -> list[float]:
        return _plain(self.build.firmware_ratio)

    @cached_property
    def reject_ratio(self) -> list[float]:
        return _plain(self.build.reject_ratio)

    @cached_property
    def warmup_s(self) -> list[float]:
        return _plain(self.build.warmup_s)
