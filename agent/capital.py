"""The worth of machines and of power in a running agent: what the operator says of it, and when it is thought about.

These are questions of months, so no tick waits for them: every ten minutes a thread judges the newest cycle, and pages
read what it found last. The decision is made elsewhere and earlier, and no number here has a part in it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated

import msgspec
from msgspec import Meta

from agent.section import ConfigError, Section
from fleet.capital import Appraisal, CapitalTerms, KeepTerms, judge
from fleet.cycle import Cycle
from fleet.site import Machine, fold_model
from fleet.tariff import Tariff

log = logging.getLogger(__name__)

EVERY_S = 600.0
SOON_S = 30.0  # from the first to the second time, and while no machine has a price; then twice as long each time
GOOD_FOR_S = 1800.0

Ratio = Annotated[float, Meta(ge=0, le=1)]
UsdMonth = Annotated[float, Meta(ge=0, le=10_000)]
UsdTh = Annotated[float, Meta(ge=0, le=10_000)]
UsdKwh = Annotated[float, Meta(ge=0, le=10)]


class KeepTermsSection(Section, frozen=True):
    """`fleet.capital.KeepTerms` as the operator writes them; None = he does not say."""

    months: Annotated[int, Meta(ge=1, le=240)] | None = None
    uptime_ratio: Ratio | None = None
    slot_usd_month: UsdMonth | None = None
    repair_usd_month: UsdMonth | None = None
    labour_usd_month: UsdMonth | None = None
    resale_usd_th: UsdTh | None = None
    residual_usd_th: UsdTh | None = None
    discount_per_year: Annotated[float, Meta(ge=0, le=2)] | None = None
    hashprice_decline_per_year: Annotated[float, Meta(ge=-1, lt=1)] | None = None
    hashprice_sigma_per_root_year: Annotated[float, Meta(ge=0, le=5)] | None = None
    power_usd_kwh: Annotated[float, Meta(ge=-1, le=10)] | None = None

    def told(self) -> dict[str, float]:
        """What he says, by name."""
        words = {each.name: getattr(self, each.name) for each in fields(KeepTerms)}
        return {name: value for name, value in words.items() if value is not None}


class KeepSection(KeepTermsSection, frozen=True):
    models: dict[str, KeepTermsSection] = msgspec.field(default_factory=dict)


class FeederSection(Section, frozen=True):
    alternative_usd_per_kwh: UsdKwh


def capital_terms(
    keep: KeepSection,
    alternative_usd_per_kwh: float | None,
    feeders: Mapping[str, FeederSection],
    tariffs: Iterable[Tariff],
) -> CapitalTerms:
    """The operator's words; a model's own go before those of all. `tariffs` are those in use."""
    general = keep.told()
    return CapitalTerms(
        keep=_keep_terms(general),
        keep_by_model={fold_model(name): _keep_terms(general | each.told()) for name, each in keep.models.items()},
        varying_tariffs=frozenset(
            each.name for each in tariffs if not isinstance(each.energy, int | float) or each.shadows
        ),
        alternative_usd_kwh=math.nan if alternative_usd_per_kwh is None else alternative_usd_per_kwh,
        alternative_by_feeder={name: each.alternative_usd_per_kwh for name, each in feeders.items()},
    )


def _keep_terms(told: Mapping[str, float]) -> KeepTerms:
    return KeepTerms(**told)  # type: ignore[arg-type]  # months is whole: its section says so


def varying(tariffs: Iterable[Tariff]) -> frozenset[str]:
    """The names of the tariffs whose price is not the same at every instant."""
    return frozenset(each.name for each in tariffs if not isinstance(each.energy, int | float) or each.shadows)


def check_capital(
    keep: KeepSection,
    is_default_told: bool,
    feeders: Mapping[str, FeederSection],
    machines: Iterable[Machine],
    tariffs: Iterable[Tariff],
) -> Iterable[str]:
    """What the operator should know of his words before they are used; yields warnings. Errors: ConfigError."""
    named = {machine.feeder for machine in machines if machine.feeder}
    for name in feeders:
        if name not in named:
            known = f"; it has {', '.join(sorted(named)[:5])}" if named else ""
            yield f"feeders: no line of the inventory names {name!r}{known}"
    if is_default_told and not named:
        yield "economics.alternative_usd_per_kwh: no line of the inventory names a feeder, so nothing is compared"
    folded: dict[str, str] = {}
    for name in keep.models:
        if (first := folded.setdefault(fold_model(name), name)) != name:
            raise ConfigError(f"economics.keep.models.{name!r}", f"is the same model as {first!r}")
    general = keep.told()
    if general and not keep.models and (untold := _keep_terms(general).untold):
        yield f"economics.keep: nothing is judged without {', '.join(untold)}"
    for name, each in keep.models.items():
        if untold := _keep_terms(general | each.told()).untold:
            yield f"economics.keep.models.{name!r}: nothing is judged without {', '.join(untold)}"
    if (general or keep.models) and keep.power_usd_kwh is None and (names := varying(tariffs)):
        told = ", ".join(f"tariffs.{name}" if name else "tariff" for name in sorted(names))
        yield f"economics.keep.power_usd_kwh: is missing: the price of {told} varies, so machines there are not judged"


def is_warning_of_capital(warning: str) -> bool:
    """Whether a warning of the configuration is one of `check_capital`."""
    return warning.startswith(("feeders:", "economics.keep", "economics.alternative"))


class Appraiser:
    """Keeps the newest appraisal of a running agent. Belongs to the event loop; `newest` may be read by any thread."""

    def __init__(self, terms: CapitalTerms) -> None:
        self._terms = terms
        self._asked_s = -math.inf
        self._wait_s = 0.0
        self._running: asyncio.Future[Appraisal] | None = None
        self._found: Appraisal | None = None

    def look(self, cycle: Cycle) -> None:
        """Begin to judge this cycle in a thread if it is time; a step of the clock only makes it time earlier."""
        if self._running is None and abs(cycle.at_s - self._asked_s) >= self._wait_s:
            self._asked_s = cycle.at_s
            self._running = asyncio.get_running_loop().run_in_executor(None, judge, cycle, self._terms)
            self._running.add_done_callback(self._take)

    async def settled(self) -> None:
        """Wait for the thread, if there is one."""
        if self._running is not None:
            await asyncio.wait([self._running])

    def newest(self, now_s: float) -> Appraisal | None:
        """What was found last, unless it is too old to be shown."""
        found = self._found
        return found if found is not None and abs(now_s - found.at_s) <= GOOD_FOR_S else None

    def _take(self, running: asyncio.Future[Appraisal]) -> None:
        self._running, waited_s, self._wait_s = None, self._wait_s, SOON_S
        if running.cancelled():
            return
        if (error := running.exception()) is not None:
            # a fault of ours: the farm goes on, and what was found before grows old and vanishes
            log.error("the worth of the fleet cannot be computed: %s", type(error).__name__)
            log.debug("appraisal failed", exc_info=error)
            return
        self._found = running.result()
        if self._found.priced:
            # a young agent has not seen all: its first answers are soon replaced
            self._wait_s = min(EVERY_S, max(SOON_S, 2.0 * waited_s))
