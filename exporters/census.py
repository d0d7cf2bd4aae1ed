"""Every machine in columns: what it does, or would do if it ran, and what its power costs. Served as `/fleet.json`.

For readers that want the whole fleet and few numbers of each machine, whatever the market says at the moment. Words
that repeat stand once, and a column names them by their place; a place of -1 is none. numpy prints the columns, and
what is NaN is null there.

Schema 2 has what schema 1 had, and what the worth of machines rests on: the verdicts of the moment and the tariffs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import orjson

from exporters.wording import DISPATCHES, POWER_SOURCES, REASONS, clean, instant, number, unique_names
from fleet.cycle import Cycle
from fleet.economics import appraise
from fleet.naming import full_model
from fleet.readings import CapableSource

SCHEMA = "hashwatt.fleet/2"

POWER_WORDS = (
    *(word or "" for word in POWER_SOURCES),
    *(f"if running: {source.name.lower()}" for source in CapableSource),
)
"""What watts rest on: of a machine that runs, then of one that stands."""


def census(cycle: Cycle) -> bytes:
    """The document as JSON. A machine that is not priced says why (`unpriced`) and has null for hashrate and watts."""
    snapshot, now = cycle.snapshot, cycle.valuation
    # whoever reads this brings prices of his own: one that is missing now must not leave a machine unpriced
    at_any_price = replace(now, hashprice_usd_ph_day=1.0, power_usd_per_kwh=1.0)
    money = appraise(cycle.site, snapshot, at_any_price, cycle.memory.stopped)
    models, model = _placed(
        full_model(info.make, info.model) or machine.model
        for info, machine in zip(snapshot.infos, cycle.site.machines, strict=True)
    )
    feeders, feeder = cycle.site.feeders
    tariffs, tariff = _placed(machine.tariff for machine in cycle.site.machines)
    terms = cycle.site.terms
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "site": clean(cycle.site.name),
            "at": instant(cycle.at_s),
            "terms": {
                "pool_fee": terms.pool_fee, "reject": terms.reject, "overhead": terms.overhead,
                "certainty_sigmas": terms.certainty_sigmas,
            },
            "market": {
                "difficulty": number(now.difficulty),
                "reward_btc": number(now.reward_btc),
                "hashprice_usd_ph_day": number(now.hashprice_usd_ph_day),
                "power_usd_kwh": number(now.power_usd_per_kwh),
            },
            "tariffs": [
                {
                    "name": clean(price.tariff),
                    "power_usd_kwh": number(price.usd_per_kwh) if price.is_usable else None,
                    "profit_share": price.profit_share,
                }
                for price in cycle.power
            ],
            "words": {
                "model": list(map(clean, models)),
                "feeder": list(map(clean, feeders)),
                "power_source": POWER_WORDS,
                "unpriced": [word or "" for word in REASONS],
                "tariff": list(map(clean, tariffs)),
                "unpriced_now": [word or "" for word in REASONS],
                "dispatch": [word or "" for word in DISPATCHES],
            },
            "machines": {
                "id": unique_names(snapshot.ids),
                "model": model,
                "feeder": feeder,
                "hashrate_hs": money.hashrate_hs,
                "power_w": money.power_w,
                "standby_w": snapshot.standby_w,
                "power_source": np.where(
                    money.is_capable,
                    len(POWER_SOURCES) + snapshot.power_if_running_source.astype(np.int64),
                    snapshot.power_source,
                ),
                "unpriced": money.reason,
                "power_usd_kwh": cycle.site.by_tariff(cycle.power),
                "tariff": tariff,
                "unpriced_now": cycle.economics.reason,
                "dispatch": cycle.economics.dispatch,
                "margin_error_usd_h": cycle.economics.margin_error_usd_h,
            },
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )  # fmt: skip


def _placed(words: Iterable[str | None]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Each word once, in the order of first use, and the place of each; -1 where there is none."""
    places: dict[str, int] = {}
    column = [places.setdefault(word, len(places)) if word else -1 for word in words]
    return list(places), np.array(column, np.int64)
