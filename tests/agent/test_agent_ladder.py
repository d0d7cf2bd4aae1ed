"""`hashwatt ladder` from the inventory, a journal and a cycle: what it says, counts, leaves out and refuses."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from cycles import make_snapshot, make_valuation
from rich.console import Console

from agent import cli, ladder, ladder_view, wiring
from agent.config import ConfigError, load
from agent.journal import Journal, JournalError, newest_decision
from agent.record import encode_cycle_inputs
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import Market, MarketInput, Quote
from fleet.readings import CapableSource, PowerSource, Reason
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import MachineInfo, Snapshot
from fleet.tariff import FlatTariff

FIXED = "fixed = { btc_usd = 70600.0, difficulty = 141.668e12, height = 935140, block_fees_btc = 0.025 }"
INVENTORY = """id,model,hashrate_th,power_w
a,Antminer S21,,
b,Antminer S19j Pro (100T),,
c,Antminer S19j Pro (100T),100,3100
d,,100,3000
e,Somebody's X1,,
"""
SEVEN = ["--power", "0.06,0.07"]


def config_file(folder: Path, market: str = FIXED, inventory: str = INVENTORY) -> str:
    (folder / "inventory.csv").write_text(inventory)
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\ninventory = "inventory.csv"\n[journal]\npath = "{folder}/hashwatt.db"\n'
        f"[market]\n{market}\n[tariff]\nusd_per_kwh = 0.065\n"
    )
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["ladder", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def rung(document: dict[str, Any], hashprice: float, price: float) -> dict[str, Any]:
    level = min(document["levels"], key=lambda each: abs(each["hashprice_usd_ph_day"] - hashprice))
    return next(each for each in level["rungs"] if each["power_usd_kwh"] == price)


# --- from the inventory ----------------------------------------------------------------------------------------------


def test_the_inventory_by_its_own_numbers_and_its_nameplates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = said(capsys, "--nameplates", "--config", config_file(tmp_path))
    assert (document["basis"], document["machines"], document["priced"]) == ("nameplates", 5, 3)
    assert document["unpriced"] == {"not_sha256": 2}
    assert document["power_basis"] == {
        "nameplate": {"machines": 2, "power_w": 3500.0 + 3050.0},
        "configured": {"machines": 1, "power_w": 3100.0},
    }
    assert [machine["id"] for machine in document["merit_order"]] == ["a", "b", "c"]
    assert [level["btc_usd"] for level in document["levels"] if level["is_now"]] == [pytest.approx(70_600)]
    assert document["power_usd_kwh"] == [0.04, 0.05, 0.06, 0.065, 0.07]  # the site's own beside the usual
    # 31.58 USD/PH/day: the cut-off is 20.6 J/TH at 60 USD/MWh, between 17.5 and 30.5
    at = rung(document, 31.58, 0.06)
    assert at["cutoff_j_per_th"] == pytest.approx(20.6, abs=0.05)
    assert (at["above"], at["under"]) == (1, 2)
    assert at["models_under"] == {"Antminer S19j Pro (100T)": 2}
    curve = dict(zip(document["power_usd_kwh"], document["curve"]["freed_w"], strict=True))
    assert set(curve[0.06]) == {6090.0, 9560.0}  # the S21 adds 3470 W below 26.83
    assert at["freed_w"] == 3050 + 3100 - 2 * 30
    # by hand: 6.15 kW * 24 * 1.05 * 0.06 = 9.2988 paid, 0.2 PH/s * 31.579 * 0.98604 = 6.2276 earned
    assert at["loss_usd_day"] == pytest.approx(9.2988 - 6.2276, abs=0.001)
    # 0.2 PH/s earn as much; 3.5 kW cost 5.292
    assert at["margin_usd_day"] == pytest.approx(6.2276 - 5.292, abs=0.001)


def test_without_a_market_hashprices_are_levels_and_a_bitcoin_price_needs_the_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--nameplates", "--config", config_file(tmp_path, market="")]
    document = said(capsys, *words)
    assert [(level["hashprice_usd_ph_day"], level["btc_usd"]) for level in document["levels"]] == [(32.0, None)]
    assert document["market"]["difficulty"] is None
    assert cli.main(["ladder", *words]) == 0
    assert "no difficulty" in capsys.readouterr().out
    assert cli.main(["ladder", *words, "--btc", "70600"]) == 2
    assert capsys.readouterr().err.startswith("--btc: needs a difficulty and a reward")
    document = said(capsys, *words, "--btc", "70600", "--difficulty", "125.864e12", "--reward", "3.15")
    assert [round(level["hashprice_usd_ph_day"], 2) for level in document["levels"]] == [35.54]


def test_another_difficulty_is_another_time_than_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--nameplates", "--config", config_file(tmp_path), "--difficulty", "125.864e12", *SEVEN)
    assert not any(level["is_now"] for level in document["levels"])
    assert document["power_usd_kwh"] == [0.06, 0.07]


def test_a_fixed_market_that_says_a_part_gives_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--nameplates", "--config", config_file(tmp_path, "fixed = { difficulty = 141.668e12 }"))
    assert document["market"] == {
        "difficulty": 141.668e12, "reward_btc": None, "hashprice_usd_ph_day": None, "power_usd_kwh": 0.065,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--btc", "x"), "--btc: 'x' is no number"),
        (("--btc", "1,70000"), "--btc: 1 is not between"),
        (("--hashprice", "nan"), "--hashprice: nan is not between"),
        (("--hashprice", "-3"), "--hashprice: -3 is not between"),
        (("--power", "60"), "--power: 60 is not between -10 and 10"),
        (("--difficulty", "1e12,2e12"), "--difficulty: is one number"),
        (("--reward", "\x1b[2J"), "--reward: "),
        (("--power", ",".join(f"0.{n:03}" for n in range(51))), "--power: 51 levels, at most 50"),
        (("--svg", "/nowhere/at/all.svg"), "--svg: No such file or directory"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], told: str
) -> None:
    option, value = words
    assert cli.main(["ladder", "--nameplates", "--config", config_file(tmp_path), f"{option}={value}"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith(told)
    assert errors.count("\n") == 1
    assert "\x1b" not in errors


def test_a_fleet_of_which_nothing_is_known_is_a_failure_that_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path, inventory="id,model\na,Somebody's X1\n")
    assert cli.main(["ladder", "--nameplates", "--config", path, "--svg", str(tmp_path / "x.svg")]) == 1
    out = capsys.readouterr().out
    assert "0 of 1 machines priced" in out
    assert "not sha256 1" in out
    ElementTree.parse(tmp_path / "x.svg")


def test_the_tables_show_levels_bars_and_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ladder", "--nameplates", "--config", config_file(tmp_path), *SEVEN]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "70,600 31.58 0.0600 20.6 2 6090 W 3.07 0.94 █████████████ 67%" in lines
    assert any(line.startswith("Antminer S21 1 17.5 3500 W 26.83 31.31") for line in lines)
    assert "not priced, and in no number below: not sha256 2" in lines
    assert "watts: nameplate 2 (6550 W), configured 1 (3100 W)" in lines


def test_no_number_is_cut_at_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"m{i},Antminer S19j Pro (100T)\n" for i in range(10_000))
    path = config_file(tmp_path, inventory=f"id,model\n{lines}")
    document = said(capsys, "--nameplates", "--config", path, *SEVEN)
    stream = io.StringIO()
    ladder_view.show(document, Console(file=stream, width=80))
    assert "…" not in stream.getvalue()
    assert "10,000 30.20 MW" in stream.getvalue()


def test_the_picture_is_sound_and_escapes_what_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--nameplates", "--config", config_file(tmp_path), *SEVEN)
    picture = ladder_view.svg({**document, "site": "<b>&north"})
    tree = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    lines = tree.findall(f"{space}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [ladder.CURVE_POINTS] * 2
    assert len(tree.findall(f"{space}circle")) == 2 * len(document["levels"])
    assert "<b>&north: power under water by hashprice" in [text.text for text in tree.findall(f"{space}text")]


def test_ten_thousand_machines_answer_within_two_seconds_of_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ("Antminer S21", "Antminer S19 XP", "Antminer S19j Pro (100T)", "Antminer S9")
    lines = "".join(f"m{i},{models[i % 4]}\n" for i in range(10_000))
    path = config_file(tmp_path, inventory=f"id,model\n{lines}")
    start_s = time.process_time()
    document = said(capsys, "--nameplates", "--config", path)
    assert time.process_time() - start_s < 2.0
    assert document["priced"] == 10_000


# --- from a cycle ----------------------------------------------------------------------------------------------------

AT_S = 1_770_000_000.0
NAMES = ("runs", "sleeps", "scrypt", "dark")


def small_site() -> Site:
    return Site("north", tuple(Machine(id=name, model="S21") for name in NAMES), terms=EconomicTerms(),
                tariff=FlatTariff(0.06))  # fmt: skip


def small_snapshot() -> Snapshot:
    nan = np.nan
    return make_snapshot(
        NAMES,
        infos=tuple(MachineInfo(model=model) for model in ("Antminer S21\x1b[2J", "", "L9", "")),
        up=np.array([1.0, 1.0, 1.0, 1.0]),
        hashrate_hs=np.array([200e12, nan, 10e9, 100e12]),
        power_w=np.array([3500.0, nan, 3000.0, nan]),
        power_source=np.array([PowerSource.METERED, 0, PowerSource.METERED, 0], np.uint8),
        is_running=np.array([True, False, True, True]),
        is_sha256=np.array([True, True, False, True]),
        hashrate_if_running_hs=np.array([200e12, 100e12, nan, nan]),
        power_if_running_w=np.array([3500.0, 3000.0, nan, nan]),
        power_if_running_source=np.array([0, CapableSource.STEADY, 0, 0], np.uint8),
        standby_w=np.full(4, 30.0),
    )


def small_cycle() -> Cycle:
    return think(small_site(), small_snapshot(), Market(), Signals(), Policy(), Memory(), AT_S)


def test_a_cycle_without_a_market_is_priced_by_the_levels_alone() -> None:
    fleet = ladder.fleet_of_cycle(small_cycle(), "look")
    document = ladder.ladder_document(fleet, ladder.grid_of(hashprice="32", power="0.06"))
    assert document["unpriced"] == {"no_power": 1, "not_sha256": 1}
    assert document["power_basis"] == {
        "metered": {"machines": 1, "power_w": 3500.0},
        "if running: steady": {"machines": 1, "power_w": 3000.0},
    }
    assert "\x1b" not in str(document)
    levels: Any = document["levels"]
    assert levels[0]["rungs"][0]["models_under"] == {"S21": 1}


def test_one_look_is_what_once_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cycle = small_cycle()
    monkeypatch.setattr(wiring, "once", lambda _: replace(cycle, valuation=make_valuation()))  # no machine to ask here
    document = said(capsys, "--config", config_file(tmp_path))
    assert (document["basis"], document["priced"]) == ("look", 2)
    assert document["at"] is not None


def test_the_journal_answers_beside_the_agent_that_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path)
    quotes = tuple(
        Quote(of, "fixed", value, AT_S, 1e9, 1e9)
        for of, value in ((MarketInput.BTC_USD, 70_600.0), (MarketInput.DIFFICULTY, 141.668e12),
                          (MarketInput.HEIGHT, 935_140.0), (MarketInput.BLOCK_FEES_BTC, 0.025))
    )  # fmt: skip
    record = encode_cycle_inputs(
        small_site(), small_snapshot(), Market(quotes), Signals(), Policy(), Memory(), AT_S, ()
    )
    journal = Journal.open(load(path).journal_path)
    try:
        assert newest_decision(journal.path) is None
        assert cli.main(["ladder", "--journal", "--config", path]) == 1
        assert "no decision in it yet" in capsys.readouterr().err
        journal.commit_decision(Memory(), b"no record", "older", AT_S - 60.0)
        journal.commit_decision(Memory(), record, "newer", AT_S)
        document = said(capsys, "--journal", "--config", path)
        assert (document["basis"], document["priced"]) == ("journal", 2)
        assert document["market"]["hashprice_usd_ph_day"] == pytest.approx(31.58, abs=0.005)
        journal.commit_decision(Memory(), b"no record", "newest", AT_S + 60.0)
        assert cli.main(["ladder", "--journal", "--config", path]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    finally:
        journal.close()


def test_a_journal_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path)
    for content in (None, b"not a database at all, but long enough to be looked at" * 100):
        if content is not None:
            (tmp_path / "hashwatt.db").write_bytes(content)
        with pytest.raises(JournalError):
            newest_decision(tmp_path / "hashwatt.db")
        assert cli.main(["ladder", "--journal", "--config", path]) == 1
        out, errors = capsys.readouterr()
        assert out == ""
        assert errors.count("\n") == 1


def test_reasons_are_those_of_the_appraisal() -> None:
    assert ladder.fleet_of_cycle(small_cycle(), "look").reason.tolist() == [
        Reason.NONE, Reason.NONE, Reason.NOT_SHA256, Reason.NO_POWER,
    ]  # fmt: skip
    with pytest.raises(ConfigError):
        ladder.grid_of(btc="")
