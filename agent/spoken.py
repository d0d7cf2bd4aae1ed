"""Values as people read them: names without their unit, numbers with it, and nothing that a terminal would obey."""

from __future__ import annotations

from enum import Enum

from fleet.units import JOULES_PER_KWH

NOTHING = "–"

UNITS = {
    "hs": "H/s", "w": "W", "j": "J", "a": "A", "v": "V", "va": "VA", "c": "°C", "s": "s", "rpm": "rpm", "ratio": "",
    "hz": "Hz",
}  # fmt: skip
"""Unit of a field by the last word of its name."""


def unit_of(name: str) -> str:
    """`power_w` -> `W`; empty for a number without a unit and for what is no number."""
    return UNITS.get(name.split("_")[-1], "")


def spoken(name: str) -> str:
    """`power_limit_w` -> `power limit`."""
    words = name.split("_")
    return " ".join(words[:-1] if words[-1] in UNITS and words[-1] != "ratio" and len(words) > 1 else words)


def text_of(name: str, value: object) -> str:
    """A value in the unit that its name tells, in the size that people use; a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        unit = unit_of(name)
        if unit == "H/s" and value >= 1e9:
            return f"{value / 1e12:.2f} TH/s"
        if unit == "Hz" and value >= 1e6:
            return f"{value / 1e6:,.10g} MHz"
        if unit == "J":
            return f"{value / JOULES_PER_KWH:,.10g} kWh"
        return f"{value:,.10g} {unit}".rstrip()
    return plain(value.value if isinstance(value, Enum) else str(value))


def plain(text: object) -> str:
    """Text of a device without control characters."""
    return "".join(c if c.isprintable() else "·" for c in str(text))
