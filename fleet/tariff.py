"""Price of a kilowatt-hour at an instant. Further tariffs are further classes with the same one method."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlatTariff:
    """The same all-in marginal price at every hour, in USD/kWh."""

    usd_per_kwh: float
    source: str = "flat"

    def price_usd_per_kwh(self, at_s: float) -> float:
        """All-in marginal price at Unix time `at_s`, USD/kWh; NaN where the tariff does not say."""
        return self.usd_per_kwh
