"""Recorded machines say "Q", "A2" and "Rig" of themselves: every view names the maker too, and no label does."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cycles import AT_S, QUOTES, make_snapshot
from rich.console import Console

from agent import console, ladder
from agent.config import load
from agent.plan import capital_of
from agent.worth import _strange_models, worth_document
from exporters.prometheus import render
from exporters.report import once_document, status_document
from fleet.account import roster_of
from fleet.capital import holding_of, judge_holding
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import InputState, Market
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import MachineInfo
from fleet.tariff import FlatTariff, PowerPrice

TOLD = (("Avalon", "Q"), ("SEALMINER", "A2"), ("Proto", "Rig"), ("Antminer", "S19k Pro"), ("", ""))
SHOWN = ("Avalon Q", "SEALMINER A2", "Proto Rig", "S19k Pro", "M50 by the inventory")


def cycle() -> Cycle:
    n = len(TOLD)
    seen = make_snapshot(
        tuple(f"m{i}" for i in range(n)), up=[1.0] * n, hashrate_hs=[100e12] * n, power_w=[3000.0] * n,
        power_source=[1] * n, is_running=[True] * n, hashrate_if_running_hs=[100e12] * n,
        power_if_running_w=[3000.0] * n, standby_w=[30.0] * n,
        infos=tuple(MachineInfo(make=make, model=model) for make, model in TOLD),
    )  # fmt: skip
    machines = tuple(Machine(f"m{i}", model=SHOWN[i] if i == 4 else None) for i in range(n))
    site = Site("north", machines, terms=EconomicTerms(), tariff=FlatTariff(0.05))
    market = Market(tuple(quote for quotes in QUOTES.values() for quote in quotes))
    power = (PowerPrice("", 0.05, "flat", InputState.FRESH),)
    return think(site, seen, market, Signals(), Policy(), Memory(), AT_S, power)


def test_the_console_names_the_maker_and_the_documents_keep_both_apart() -> None:
    once = json.loads(json.dumps(once_document(cycle())))
    assert [(row["make"], row["model"]) for row in once["machines"][:4]] == list(TOLD[:4])
    wide = Console(record=True, width=160, file=io.StringIO())
    console.show_once(once, wide)
    status = Console(record=True, width=160, file=io.StringIO())
    status.print(console.frame(json.loads(json.dumps(status_document(cycle()))), AT_S, 60, 160))
    for screen in (wide.export_text(), status.export_text()):
        for name in SHOWN:
            assert f" {name} " in screen
        assert "Antminer" not in screen


def test_ladder_worth_and_the_books_name_it_and_labels_do_not() -> None:
    assert list(ladder.fleet_of_cycle(cycle(), "look").models) == list(SHOWN)
    assert holding_of(cycle()).models == SHOWN
    assert roster_of(cycle()).models == (*SHOWN[:4], "")  # what the inventory says stands in the books as told there
    page = b"".join(render(cycle(), now_s=AT_S, lease_valid_until_s=AT_S + 1.0, extra=[])).decode()
    assert 'make="Avalon",model="Q"' in page
    assert "Avalon Q" not in page


@pytest.mark.parametrize("name", ["Q", "Avalon Q", "avalon q"])
def test_terms_of_a_model_are_found_by_either_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hashwatt.toml"
    keep = "months = 12\nuptime_ratio = 1.0\nresale_usd_th = 1.0\nhashprice_sigma_per_root_year = 0.1\n"
    path.write_text(
        '[site]\nname = "north"\n[tariff]\nusd_per_kwh = 0.05\n'
        f'[economics.keep]\n{keep}[economics.keep.models."{name}"]\nresale_usd_th = 7.0\n'
    )
    config = load(path)
    holding = holding_of(cycle())
    document: Any = worth_document(holding, judge_holding(holding, capital_of(config)), "look", [], AT_S)
    resale = {row["model"]: row["resale_usd"] for row in document["by_machine"]}
    assert (resale["Avalon Q"], resale["SEALMINER A2"]) == (700.0, 100.0)
    assert _strange_models(config, holding, capital_of(config)) == []


def test_an_id_and_a_model_of_a_device_are_text_in_every_view() -> None:
    seen = cycle()
    hostile = tuple(replace(info, make="A\x1b[2J", model="Q\n<b>") for info in seen.snapshot.infos)
    document = once_document(replace(seen, snapshot=replace(seen.snapshot, infos=hostile)))
    screen = Console(record=True, width=160, file=io.StringIO())
    console.show_once(json.loads(json.dumps(document)), screen)
    assert "\x1b[2J" not in screen.export_text()
