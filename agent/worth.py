"""The command `hashwatt worth`: does a machine pay its power now, is it worth its place, and its power more elsewhere?

The fleet is the one that `hashwatt ladder` judges: of the agent that runs, of one look at every machine, or of the
newest decision in the journal. What keeping a machine costs and what it would fetch are the operator's words of today,
whatever it is of.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.capital import is_warning_of_capital
from agent.config import Config, ConfigError
from agent.fleet_page import WorthCensus, census_of_agent, holding_of_census
from agent.ladder import NO_MODEL, found
from agent.plan import capital_of
from agent.running import Unreachable
from exporters.report import feeder_rows
from exporters.wording import DISPATCHES, KEEPS, REASONS, clean, instant, names, number, numbers, unique_names
from fleet.capital import Appraisal, CapitalTerms, Holding, holding_of, judge_holding
from fleet.site import fold_model

Codes = npt.NDArray[np.uint8]
Document = dict[str, object]

GROUPINGS = ("machine", "model", "feeder")


def run(
    config: Config,
    basis: str,
    by: str | None,
    *,
    url: str | None = None,
    as_json: bool = False,
    svg: str | None = None,
) -> int:
    """Prints the worth of the fleet; 0, or 1 where no machine has a margin.

    `basis` is agent, look, journal, or "auto": the agent, and one look where none answers. `url` is another agent to
    ask. Errors: ConfigError for a file that cannot be written.
    """
    told = found(config, basis, url, _of_agent, lambda cycle, basis: (basis, holding_of(cycle)))
    if told is None:
        return 1
    basis, holding = told
    terms = capital_of(config)
    warnings = [clean(warning, 400) for warning in config.warnings if is_warning_of_capital(warning)]
    warnings += _strange_models(config, holding, terms)
    document = worth_document(holding, judge_holding(holding, terms), basis, warnings, time.time())
    from agent import worth_view

    if svg is not None:
        try:
            Path(svg).write_text(worth_view.svg(document, by or "model"), encoding="utf-8")
        except OSError as error:
            raise ConfigError("--svg", f"{error.strerror}: {clean(svg)}") from None
    if as_json:
        import orjson

        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
        sys.stdout.buffer.flush()
    else:
        worth_view.show(document, (by,) if by else ("model", "feeder"))
    return 0 if document["priced"] else 1


def _of_agent(url: str, site: str | None) -> tuple[str, Holding]:
    """The newest cycle of the agent at `url`. Errors: Unreachable."""
    told = census_of_agent(url, WorthCensus, site)
    try:
        return "agent", holding_of_census(told)
    except ValueError as error:
        raise Unreachable(f"its answer is no fleet ({error})") from None


def _strange_models(config: Config, holding: Holding, terms: CapitalTerms) -> list[str]:
    """Terms for models that the fleet does not have: a slip of the pen would leave a model to the general ones."""
    if not terms.keep_by_model:
        return []
    present = {fold_model(model) for model in set(_models(holding))}
    strange = [name for name in config.economics.keep.models if fold_model(name) not in present]
    return [f"economics.keep.models.{clean(name)!r}: no machine of this model was seen" for name in strange]


def worth_document(holding: Holding, appraisal: Appraisal, basis: str, warnings: list[str], now_s: float) -> Document:
    """Both verdicts as a JSON-ready object. What is not known is None, and a sum covers the `judged` machines alone."""
    money, worth = holding.economics, appraisal.worth
    reasons = Counter(REASONS[code] for code in money.reason.tolist() if code)
    return {
        "site": clean(holding.site.name),
        "basis": basis,
        "at": instant(holding.at_s),
        "age_s": max(now_s - holding.at_s, 0.0),
        "hashprice_usd_ph_day": number(holding.hashprice_usd_ph_day),
        "power_usd_kwh": number(holding.power_usd_kwh),
        "warnings": warnings,
        "machines": len(appraisal.ids),
        "priced": appraisal.priced,
        "unpriced": dict(sorted((str(reason), count) for reason, count in reasons.items())),
        "dispatch": _counts(money.dispatch, DISPATCHES),
        "retire": _counts(worth.verdict, KEEPS),
        "models": _by_model(holding, appraisal),
        "feeders": feeder_rows(appraisal.feeders),
        "by_machine": _by_machine(holding, appraisal),
    }


def _counts(codes: Codes, words: tuple[str | None, ...]) -> dict[str, int]:
    """How often each verdict stands, the missing one as `unknown`."""
    counts = np.bincount(codes, minlength=len(words)).tolist()
    return {word or "unknown": count for word, count in zip(words, counts, strict=True)}


def _models(holding: Holding) -> list[str]:
    return [clean(model or NO_MODEL) for model in holding.models]


def _by_model(holding: Holding, appraisal: Appraisal) -> list[Document]:
    """One object per model, in order of name."""
    of_row = _models(holding)
    models = sorted(set(of_row))
    place = {model: i for i, model in enumerate(models)}
    group = np.array([place[model] for model in of_row], np.int64)
    worth, is_judged = appraisal.worth, appraisal.worth.verdict > 0
    judged = np.bincount(group[is_judged], minlength=len(models)).tolist()

    def per_group(codes: Codes, words: tuple[str | None, ...]) -> list[dict[str, int]]:
        table = np.bincount(group * len(words) + codes, minlength=len(models) * len(words)).reshape(-1, len(words))
        return [{word or "unknown": n for word, n in zip(words, row, strict=True)} for row in table.tolist()]

    def total(column: npt.NDArray[np.float64]) -> list[float | None]:
        sums = np.bincount(group[is_judged], weights=column[is_judged], minlength=len(models)).tolist()
        return [value if count else None for value, count in zip(sums, judged, strict=True)]

    rows = zip(
        models,
        np.bincount(group, minlength=len(models)).tolist(),
        per_group(holding.economics.dispatch, DISPATCHES),
        per_group(worth.verdict, KEEPS),
        judged,
        total(worth.keep_usd),
        total(worth.resale_usd),
        strict=True,
    )
    keys = ("model", "machines", "dispatch", "retire", "judged", "keep_usd", "resale_usd")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _by_machine(holding: Holding, appraisal: Appraisal) -> list[Document]:
    """One object per machine: first the one by whose going most is gained, last those that are not judged."""
    money, worth = holding.economics, appraisal.worth
    columns = {
        "id": unique_names(appraisal.ids),
        "model": _models(holding),
        "feeder": [clean(machine.feeder) if machine.feeder else None for machine in holding.site.machines],
        "dispatch": names(money.dispatch, DISPATCHES),
        "margin_usd_h": numbers(money.margin_usd_h),
        "unpriced": names(money.reason, REASONS),
        "retire": names(worth.verdict, KEEPS),
        "keep_usd": numbers(worth.keep_usd),
        "keep_error_usd": numbers(worth.keep_error_usd),
        "resale_usd": numbers(worth.resale_usd),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [rows[row] for row in np.argsort(worth.keep_usd - worth.resale_usd, kind="stable").tolist()]
