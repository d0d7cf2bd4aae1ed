"""Presets as firmware lists them: which of them can be true, and how many are kept. Pure; no I/O.

What is dropped is dropped silently: a list is an offer, and one bad line in it says nothing about the machine.
"""

from __future__ import annotations

from collections.abc import Iterable

from collectors.miners import evidence
from collectors.miners.cgminer import text
from fleet.readings import Preset
from fleet.units import TERA

MAX_PRESETS = 64
MAX_NAME_CHARS = 32

POWER_BOUNDS_W = (10.0, 30_000.0)
HASHRATE_BOUNDS_TH = (0.1, 5_000.0)
EFFICIENCY_BOUNDS_J_PER_TH = (3.0, 500.0)
"""Wider than any machine from 2016 on; outside is a slip of units, or another algorithm."""


def preset(name: object, hashrate_th: object, watts: object, is_tuned: bool | None) -> Preset | None:
    """One line of a list.  Units: TH/s and W, as numbers or texts.  Missing: None for what no machine can do."""
    rate_th, power_w = evidence.positive(hashrate_th), evidence.positive(watts)
    if rate_th is None or power_w is None:
        return None
    quantities = (
        (rate_th, HASHRATE_BOUNDS_TH),
        (power_w, POWER_BOUNDS_W),
        (power_w / rate_th, EFFICIENCY_BOUNDS_J_PER_TH),
    )
    if not all(least <= value <= most for value, (least, most) in quantities):
        return None
    return Preset(text(name, MAX_NAME_CHARS), rate_th * TERA, power_w, is_tuned)


def listed(lines: Iterable[Preset | None]) -> tuple[Preset, ...]:
    """What is left of a list, in its order, at most MAX_PRESETS; of several with one name the first."""
    found: dict[object, Preset] = {}
    for line in lines:
        if line is not None:
            found.setdefault(line.name or line, line)
        if len(found) == MAX_PRESETS:
            break
    return tuple(found.values())
