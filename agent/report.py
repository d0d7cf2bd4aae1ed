"""The command `hashwatt report`: what a day, or several, used, did, earned and cost, by whom and what it was.

The document is pure: made of `Books` alone, so that the file and the memory that it was written from give the same
report bit by bit. Rows are sums of whole counts (`fleet.account.ITEMS`); an amount is `count * unit`, and only ratios
and means are divided, once, at the end. What no second covers is None, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil, fsum
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.report_books import Books
from exporters.wording import clean, unique_names
from fleet.account import COLUMN, ITEMS, Account, Counts, PriceSpan, Span, total

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Row = dict[str, Any]
Document = dict[str, Any]

GROUPINGS = ("site", "owner", "rack", "model", "feeder", "tariff", "machine")
COVERED_ENOUGH = 0.99
"""A figure that covers less of its time than this is marked, and two that divide each other must agree this well."""

LOSERS = 25
PRICE_WIDTH_S = 300.0
MOST_PRICES = 300  # of one name: more are put together, so that a month is no longer than a day
JOULES_PER_KWH = 3.6e6

BOOKED = "booked_ratio"
"""Share of the days of which anything is booked: the agent ran. The same in every row."""

COVERAGES = {
    "power_coverage_ratio": "covered_s",
    "hashrate_coverage_ratio": "hashrate_s",
    "work_coverage_ratio": "accepted_s",
    "price_coverage_ratio": "priced_s",
}
"""Share of the time of its machines in which a quantity was known, and the seconds that say so."""

_SECONDS_OF = {
    "hashes": "hashrate_s", "energy_j": "covered_s", "metered_j": "covered_s", "difficulty_accepted": "accepted_s",
    "difficulty_rejected": "accepted_s", "revenue_usd": "priced_s", "cost_usd": "priced_s",
    "host_share_usd": "priced_s", "accepted_revenue_usd": "accepted_s", "priced_j": "priced_s",
}  # fmt: skip


# --- the document ----------------------------------------------------------------------------------------------------


def report_document(site: str, books: Books) -> Document:
    """The report as a JSON-ready object; `books` has at least one account."""
    whole = total(Span.DAY, books.accounts)
    booked = books.booked_s
    groups = {grouping: _group_rows(grouping, site, whole, books.length_s, booked) for grouping in GROUPINGS}
    return {
        "site": clean(site),
        "zone": str(books.zone),
        "first_day": str(books.days.first),
        "last_day": str(books.days.last),
        "from": _local(books, books.start_s),
        "since": None if books.since_s is None else _local(books, books.since_s),
        "until": _local(books, books.until_s),
        "is_finished": books.is_finished,
        "length_h": books.length_s / 3600.0,
        "not_booked_h": groups["site"][0]["not_booked_h"],
        "days_missing": [str(day) for day in books.missing],
        "unreadable": [clean(what) for what in books.lost],
        "machines": len(whole.roster.ids),
        "machines_without": {
            coverage.removesuffix("_coverage_ratio"): int(np.count_nonzero(whole.counts[:, COLUMN[seconds]] == 0))
            for coverage, seconds in COVERAGES.items()
        },
        "prices": _prices(books),
        "units": {item.name: item.unit for item in ITEMS},
        "groups": groups,
        "losers": _losers(groups["machine"]),
        "steps": [_step(books, step) for step in books.steps],
    }


def _step(books: Books, step: Account) -> Row:
    """The whole site in a piece of the days."""
    until_s = min(step.end_s, books.until_s)
    one = np.zeros(len(step.counts), np.int64)
    row = _rows([None], _summed(step.counts, one, 1), np.array([len(one)]), _summed(_evidence(step), one, 1),
                until_s - step.start_s, books.booked_of(step), step.without)[0]  # fmt: skip
    return {"from": _local(books, step.start_s), "until": _local(books, until_s), **row}


def _local(books: Books, at_s: float) -> str:
    return datetime.fromtimestamp(at_s, books.zone).isoformat(timespec="seconds")


def _group_rows(grouping: str, site: str, whole: Account, length_s: float, booked: float) -> list[Row]:
    """One row per group, by name, machines that belong to none last; each is exactly the sum of its machines."""
    roster = whole.roster
    labels: Mapping[str, Sequence[str]] = {
        "site": (site,) * len(roster.ids), "owner": roster.owners, "rack": roster.locations, "model": roster.models,
        "feeder": roster.feeders, "tariff": roster.tariffs, "machine": unique_names(roster.ids),
    }  # fmt: skip
    cleaned = {label: clean(label) for label in set(labels[grouping])}
    if grouping == "site":  # stands for itself, also while it has no machine
        cleaned = {site: clean(site)}
    names = sorted(set(cleaned.values()), key=lambda name: (not name, _natural(name), name))
    place = {name: i for i, name in enumerate(names)}
    group = np.array([place[cleaned[label]] for label in labels[grouping]], np.int64)
    counts = _summed(whole.counts, group, len(names))
    evidence = _summed(_evidence(whole), group, len(names))
    machines = np.bincount(group, minlength=len(names))
    rows = _rows([name or None for name in names], counts, machines, evidence, length_s, booked, whole.without)
    if grouping == "machine":
        for row, machine in zip(rows, np.argsort(group).tolist(), strict=True):
            row |= {of: clean(labels[of][machine]) or None for of in ("owner", "rack", "model", "feeder", "tariff")}
    return rows


def _natural(name: str) -> list[tuple[int, str]]:
    """Rack 2 stands before rack 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name[:64]) if part]


def _summed(counts: Counts, group: npt.NDArray[np.int64], groups: int) -> Counts:
    sums = np.zeros((groups, counts.shape[1]), np.int64)
    np.add.at(sums, group, counts)
    return sums


def _evidence(account: Account) -> Counts:
    """Per machine what divides each other: energy and hashes, cost and energy, time running and time watched.

    Where energy and hashes were known at different times they are 0: a machine whose watts were known all day and whose
    hashrate only at night has no J/TH of that day. Where the times agree but for a little, so much of the energy is
    taken as belongs to the other. The energy that was paid is booked beside its cost; where an older version did not
    book it, it is found in the same way: a flat tariff stays what it is.
    """
    energy, hashes, cost, covered, hashing, priced, running = (
        account.counts[:, COLUMN[name]]
        for name in ("energy_j", "hashes", "cost_usd", "covered_s", "hashrate_s", "priced_s", "running_s")
    )
    worked = _agree(covered, hashing)
    paid = _agree(covered, priced) if "priced_j" in account.without else priced > 0
    paid_energy = account.counts[:, COLUMN["priced_j"]]
    if "priced_j" in account.without:
        paid_energy = _share(energy, priced, covered, paid)
    columns = (
        _share(energy, hashing, covered, worked), np.where(worked, hashes, 0),
        np.where(paid, cost, 0), paid_energy,
        np.maximum(hashing, running),  # one that warms up runs, and its hashrate is not known yet
    )  # fmt: skip
    return np.stack(columns, axis=1)


def _share(energy: Counts, part: Counts, whole: Counts, known: Flags) -> Counts:
    """`energy * part / whole`, in whole joules; 0 where it is not known."""
    ratio = np.divide(part, whole, out=np.zeros(len(energy)), where=known)
    return np.rint(energy * ratio).astype(np.int64)


def _agree(one: Counts, other: Counts) -> Flags:
    return (np.minimum(one, other) >= COVERED_ENOUGH * np.maximum(one, other)) & (one > 0)


def _rows(
    names: Sequence[str | None],
    counts: Counts,
    machines: npt.NDArray[np.int64],
    evidence: Counts,
    length_s: float,
    booked: float,
    without: frozenset[str],
) -> list[Row]:
    """Counts as amounts and figures, one row per name; an item that is `without` is known of nobody.

    `booked` seconds of the time are booked at all, whoever the row is of.
    """
    amounts = {item.name: _amount(counts[:, COLUMN[item.name]], item.unit) for item in ITEMS}
    known = {name: (counts[:, COLUMN[of]] > 0) & (name not in without) for name, of in _SECONDS_OF.items()}
    # accepted work is worth something: where it is 0, nobody knew the market
    known["accepted_revenue_usd"] &= (amounts["accepted_revenue_usd"] != 0.0) | (amounts["difficulty_accepted"] == 0.0)
    revenue, cost, host = (counts[:, COLUMN[name]] for name in ("revenue_usd", "cost_usd", "host_share_usd"))
    usd = ITEMS[COLUMN["revenue_usd"]].unit
    tera = amounts["hashes"] / 1e12
    joules, hashes, paid, paid_joules, watched = evidence.T
    priced = known["revenue_usd"]
    columns: dict[str, Sequence[object]] = {
        "name": names,
        "machines": machines.tolist(),
        "energy_kwh": _where(known["energy_j"], amounts["energy_j"] / JOULES_PER_KWH),
        "metered_ratio": _ratio(amounts["metered_j"], amounts["energy_j"]),
        "hashrate_ths": _ratio(tera, amounts["hashrate_s"]),
        "uptime_ratio": _ratio(counts[:, COLUMN["running_s"]], watched),
        "reject_ratio": _ratio(
            amounts["difficulty_rejected"], amounts["difficulty_accepted"] + amounts["difficulty_rejected"]
        ),
        "margin_usd": _where(priced, _amount(revenue - cost, usd)),
        "kept_margin_usd": _where(priced, _amount(revenue - cost - host, usd)),
        "usd_per_kwh": _ratio(_amount(paid, usd), paid_joules / JOULES_PER_KWH),
        "efficiency_j_per_th": _ratio(joules, _amount(hashes, ITEMS[COLUMN["hashes"]].unit) / 1e12),
        "stopped_h": (amounts["stopped_s"] / 3600.0).tolist(),
        "not_booked_h": [max(length_s - booked, 0.0) / 3600.0] * len(names),
        BOOKED: [min(booked / length_s, 1.0) if length_s > 0.0 else None] * len(names),
        **{
            coverage: _ratio(np.minimum(amounts[seconds], machines * length_s), machines * length_s)
            for coverage, seconds in COVERAGES.items()
        },
        **{name: _where(known[name], amount) if name in known else amount.tolist() for name, amount in amounts.items()},
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _amount(counts: Counts, unit: float) -> Floats:
    """`count * unit`, and of the two floats beside it the nearer one: 7 thousandths are 0.007."""
    exact = counts.astype(np.float64)
    return exact * unit if unit >= 1.0 else exact / round(1.0 / unit)


def _where(known: Flags, values: Floats) -> list[float | None]:
    return [value if is_known else None for value, is_known in zip(values.tolist(), known.tolist(), strict=True)]


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> list[float | None]:
    """None where there is nothing to divide by."""
    known = np.asarray(whole) > 0
    return _where(known, np.divide(part, whole, out=np.zeros(len(known)), where=known))


def _losers(machines: Sequence[Row]) -> Document:
    """Machines that cost more than they earned, the worst first."""
    losing = sorted((row for row in machines if (row["margin_usd"] or 0.0) < 0.0), key=lambda row: row["margin_usd"])
    return {
        "machines": len(losing),
        "margin_usd": round(fsum(row["margin_usd"] for row in losing), 9),
        "worst": [row["name"] for row in losing[:LOSERS]],
    }


def _prices(books: Books) -> Document:
    """Each price over the days: mean of the time that it was known, lowest, highest, and its course."""
    width_s = PRICE_WIDTH_S * max(1, ceil((books.end_s - books.start_s) / PRICE_WIDTH_S / MOST_PRICES))
    by_name: dict[str, list[PriceSpan]] = {}
    for price in books.prices:
        if price.known_s > 0.0:
            by_name.setdefault(clean(price.name), []).append(price)
    return {
        name: {
            **_together(spans),
            "course": [
                {"from": _local(books, start_s), **_together(some)}
                for start_s, some in _pieces(spans, books.start_s, width_s)
            ],
        }
        for name, spans in sorted(by_name.items())
    }


def _pieces(spans: Sequence[PriceSpan], start_s: float, width_s: float) -> list[tuple[float, list[PriceSpan]]]:
    pieces: dict[float, list[PriceSpan]] = {}
    for span in sorted(spans, key=lambda each: each.start_s):
        pieces.setdefault(start_s + (span.start_s - start_s) // width_s * width_s, []).append(span)
    return list(pieces.items())


def _together(spans: Sequence[PriceSpan]) -> dict[str, float]:
    known_s = sum(span.known_s for span in spans)
    return {
        "known_s": known_s,
        "mean": sum(span.mean * span.known_s for span in spans) / known_s,
        "low": min(span.low for span in spans),
        "high": max(span.high for span in spans),
    }
