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
from answering_agent import agent_that_answers
from cycles import make_snapshot, make_valuation
from rich.console import Console

from agent import cli, fleet_page, ladder, ladder_view, wiring
from agent.config import ConfigError, load
from agent.journal import Journal, JournalError, newest_decision
from agent.record import encode_cycle_inputs
from agent.running import Unreachable
from exporters.census import census
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import InputState, Market, MarketInput, Quote
from fleet.readings import CapableSource, PowerSource
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import MachineInfo, Snapshot
from fleet.tariff import FlatTariff, PowerPrice

FIXED = "fixed = { btc_usd = 70600.0, difficulty = 141.668e12, height = 935140, block_fees_btc = 0.025 }"
INVENTORY = """id,model,hashrate_th,power_w
a,Antminer S21,,
b,Antminer S19j Pro (100T),,
c,Antminer S19j Pro (100T),100,3100
d,,100,3000
e,Somebody's X1,,
"""
SEVEN = ["--power", "0.06,0.07"]


def config_file(
    folder: Path, market: str = FIXED, inventory: str = INVENTORY, more: str = "", listen: str = "127.0.0.1:1"
) -> str:
    """Where the agent would listen nobody does, unless a test says where."""
    (folder / "inventory.csv").write_text(inventory)
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\ninventory = "inventory.csv"\n[journal]\npath = "{folder}/hashwatt.db"\n'
        f'[prometheus]\nlisten = "{listen}"\n'
        f"[market]\n{market}\n[tariff]\nusd_per_kwh = 0.065\n{more}"
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
        (("--btc", "1,70000"), "--btc: 1 is not between 1000 and 1e+07\n"),
        (("--btc", "70,000"), "--btc: 70 is not between 1000 and 1e+07; thousands are written without a comma\n"),
        (("--hashprice", "nan"), "--hashprice: nan is not between"),
        (("--hashprice", "-3"), "--hashprice: -3 is not between"),
        (("--power", "0.05,100"), "--power: 100 is not between -10 and 10\n"),
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


def test_an_address_of_an_agent_that_is_none_is_a_slip_of_the_pen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ladder", "--url", "127.0.0.1:9851", "--config", config_file(tmp_path)]) == 2
    assert capsys.readouterr() == ("", "--url: '127.0.0.1:9851' does not begin with http:// or https://\n")


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
    texts = [text.text for text in tree.findall(f"{space}text")]
    assert "<b>&north: power under water by hashprice" in texts
    assert {"0 W", "25", "30", "now", "price of power"} <= set(texts)


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


OWN_TARIFFS = """id,model,hashrate_th,power_w,feeder,tariff
a,,100,3000,F1,
b,,100,3000,F1,hosted
c,,100,3000,F2,
d,,100,2000,,hosted
e,,100,3000,F2,later
"""
HOSTED = '[tariffs.hosted]\nusd_per_kwh = 0.02\n[tariffs.later]\nper_kwh_file = "prices.csv"\nstep_min = 60\n'


def with_tariffs(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    (folder / "prices.csv").write_text("time,value\n2030-01-01T00:00:00Z,0.05\n")
    lines = OWN_TARIFFS.replace("a,,", "a,Antminer S21,").replace(",,1", ",Antminer S21,1")
    return said(capsys, "--nameplates", "--config", config_file(folder, inventory=lines, more=HOSTED), *words)


def test_today_each_machine_pays_its_own_tariff_and_the_grid_one_price_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = with_tariffs(tmp_path, capsys)
    today = document["today"]
    # by hand: 0.1 PH/s * 31.579 * 0.98604 = 3.1138 a day; 3 kW * 25.2 * 0.065 = 4.914, at 0.02 1.512, 2 kW 1.008
    assert today["prices"] == [
        {"power_usd_kwh": 0.02, "machines": 2}, {"power_usd_kwh": 0.065, "machines": 2},
    ]  # fmt: skip
    assert (today["under"], today["unpriced"]) == (2, 1)  # nobody has read the price of `later`
    assert today["freed_w"] == 2 * 2970.0
    assert today["feeders_freed_w"] == {"F1": 2970.0, "F2": 2970.0}
    assert today["models_under"] == {"Antminer S21": 2}
    assert today["loss_usd_day"] == pytest.approx(2 * (4.914 - 3.1138), abs=0.001)
    assert today["margin_usd_day"] == pytest.approx(2 * 3.1138 - 1.512 - 1.008, abs=0.001)
    at = rung(document, today["hashprice_usd_ph_day"], 0.065)
    assert at["under"] == 5  # at one price for all, 2 kW for 100 TH/s lose too: 3.276 a day
    assert at["feeders_freed_w"] == {"(no feeder)": 1970.0, "F1": 5940.0, "F2": 5940.0}
    assert rung(document, today["hashprice_usd_ph_day"], 0.06)["feeders_freed_w"] == {"F1": 5940.0, "F2": 5940.0}
    assert document["feeders"] == [
        {"feeder": "(no feeder)", "machines": 1, "power_w": 2000.0},
        {"feeder": "F1", "machines": 2, "power_w": 6000.0},
        {"feeder": "F2", "machines": 2, "power_w": 6000.0},
    ]
    for level in document["levels"]:
        for each in level["rungs"]:
            assert sum(each["feeders_freed_w"].values()) == pytest.approx(each["freed_w"])


def test_today_is_told_only_of_the_market_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert with_tariffs(tmp_path, capsys, "--difficulty", "125.864e12")["today"] is None
    assert said(capsys, "--nameplates", "--config", config_file(tmp_path, market=""))["today"] is None


def test_the_tables_show_today_and_the_feeders_where_they_tell_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = with_tariffs(tmp_path, capsys)
    stream = io.StringIO()
    ladder_view.show(document, Console(file=stream, width=120))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert "own: each machine at the price of its own tariff, 0.0200 to 0.0650" in lines
    assert "70,600 31.58 now own – 2 5940 W 3.60 3.71 ████████ 40%" in lines
    assert "Watts freed, by feeder" in lines
    assert "BTC USD USD/PH/d USD/kWh F1 F2 (no feeder)" in lines  # the largest first
    assert "70,600 31.58 now own 2970 W 2970 W 0 W" in lines
    one_price = said(capsys, "--nameplates", "--config", config_file(tmp_path))
    stream = io.StringIO()
    ladder_view.show(one_price, Console(file=stream, width=120))
    assert "own" not in stream.getvalue()  # 0.065 is a rung
    assert "feeder" not in stream.getvalue()
    elsewhere = said(capsys, "--nameplates", "--config", config_file(tmp_path), *SEVEN)
    assert any(
        "own: each machine at the price of its own tariff, 0.0650" in line for line in ladder_view.heading(elsewhere)
    )


def test_many_feeders_fit_80_columns_with_the_small_ones_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"m{i},Antminer S19j Pro (100T),a feeder of a long name {i % 20:02}\n" for i in range(190))
    document = said(
        capsys, "--nameplates", "--config", config_file(tmp_path, inventory=f"id,model,feeder\n{lines}"), *SEVEN
    )
    stream = io.StringIO()
    ladder_view.show(document, Console(file=stream, width=80))
    table = stream.getvalue().partition("by feeder\n")[2].partition("\n\n")[0].splitlines()
    assert table[0].split()[-8:] == ["…ng", "name", "00", "…ng", "name", "01", "18", "others"]
    # ten machines of 3050 W less their standby on each of the first ten feeders, nine on the others
    assert table[1].split() == ["92,000", "41.15", "0.0600", "30.2", "kW", "30.2", "kW", "513.4", "kW"]
    assert all(len(line) <= 80 for line in table)
    assert not any("…" in line for line in table[1:])


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
    document = said(capsys, "--look", "--config", config_file(tmp_path))
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
    assert cli.main(["ladder", "--journal", "--config", path]) == 1
    assert f"there is no journal at {load(path).journal_path} yet; hashwatt run" in capsys.readouterr().err
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
    assert ladder.fleet_of_cycle(small_cycle(), "look").unpriced == ["", "", "not_sha256", "no_power"]
    with pytest.raises(ConfigError):
        ladder.grid_of(btc="")


# --- from a running agent --------------------------------------------------------------------------------------------


def test_the_agent_that_runs_is_asked_first_and_nobody_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(wiring, "once")
    cycle = replace(small_cycle(), valuation=make_valuation(), power=(PowerPrice("", 0.06, "flat", InputState.FRESH),))
    with agent_that_answers(census(cycle)) as at:
        document = said(capsys, "--config", config_file(tmp_path, listen=at))
        assert said(capsys, "--config", config_file(tmp_path), "--url", f"http://{at}") == document | {
            "age_s": pytest.approx(document["age_s"], abs=60.0)
        }
    assert (document["basis"], document["at"]) == ("agent", "2026-02-02T02:40:00.000Z")
    assert document["age_s"] == pytest.approx(time.time() - AT_S, abs=60.0)
    looked = ladder.ladder_document(ladder.fleet_of_cycle(cycle, "look"), ladder.Grid(), AT_S + 3.0)
    assert looked["age_s"] == 3.0
    assert json.loads(json.dumps(looked)) == document | {"basis": "look", "age_s": 3.0}
    assert "by the agent's newest cycle of 2026-02-02T02:40:00.000Z, 3 s ago" in ladder_view.heading(
        looked | {"basis": "agent"}
    )[0]  # fmt: skip


def test_the_agent_tells_what_each_machine_pays_and_where_it_hangs() -> None:
    cycle = small_cycle()
    machines = (replace(cycle.site.machines[0], tariff="hosted", feeder="F1"), *cycle.site.machines[1:])
    prices = (PowerPrice("", 0.06, "flat", InputState.FRESH), PowerPrice("hosted", 0.02, "flat", InputState.FRESH))
    told = census(replace(cycle, site=replace(cycle.site, machines=machines), power=prices))
    fleet = ladder.fleet_of_census(told, "agent")
    assert fleet.own_usd_per_kwh.tolist() == [0.02, 0.06, 0.06, 0.06]
    assert fleet.feeders == ["F1", "", "", ""]
    assert fleet.standby_w.tolist() == [30.0] * 4


ANOTHER = census(small_cycle()).replace(b'"site":"north"', b'"site":"sou\\u001bth"')
SHORT = census(small_cycle()).replace(b'"id":["runs",', b'"id":[')
NO_WORD = census(small_cycle()).replace(b'"model":[0,', b'"model":[77,')
BELOW = census(small_cycle()).replace(b'"model":[0,', b'"model":[-2,')
LATE = census(small_cycle()).replace(b'"at":"2026-', b'"at":"9999-')
HUGE = census(small_cycle()).replace(b'"power_w":[3500.0,', b'"power_w":[1e300,')


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 503, "it says 503 Service Unavailable"),
        (b"", 401, "it says 401 Unauthorized"),
        (b"nonsense", 200, "its answer is no fleet (JSON is malformed"),
        (b"{}", 200, "its answer is no fleet (Object missing required field `site`)"),
        (b'{"site": 3}', 200, "its answer is no fleet (Expected `str`, got `int`"),
        (SHORT, 200, "its answer is no fleet (its columns have several lengths)"),
        (NO_WORD, 200, "its answer is no fleet (a word is missing)"),
        (BELOW, 200, "its answer is no fleet (a word is missing)"),
        (LATE, 200, "its answer is no fleet (it is of the year 9999)"),
        (HUGE, 200, "its answer is no fleet (Expected `float` <= 1e+30"),
        (ANOTHER, 200, "it is the agent of the site 'south'"),
    ],
    ids=["503", "401", "nonsense", "empty", "types", "lengths", "word", "below", "late", "huge", "another"],
)
def test_an_answer_that_is_no_fleet_of_ours_is_said_in_a_line_and_one_look_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: bytes,
    status: int,
    why: str,
) -> None:
    monkeypatch.setattr(wiring, "once", lambda _: replace(small_cycle(), valuation=make_valuation()))
    with agent_that_answers(body, status) as at:
        assert cli.main(["ladder", "--json", "--config", config_file(tmp_path, listen=at)]) == 0
        out, errors = capsys.readouterr()
        assert json.loads(out)["basis"] == "look"
        assert f"no fleet from an agent at http://{at}: {why}" in errors
        assert errors.endswith("; one look at every machine instead\n")
        assert errors.count("\n") == 1
        if body is not ANOTHER:  # an agent that is named is asked, whatever its site
            assert cli.main(["ladder", "--url", f"http://{at}", "--config", config_file(tmp_path)]) == 1
            out, errors = capsys.readouterr()
            assert (out, errors.count("\n")) == ("", 1)
    assert "\x1b" not in errors


def test_an_answer_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_page, "MAX_CENSUS_BYTES", 1000)
    with agent_that_answers(b"x" * 1001) as at, pytest.raises(Unreachable, match="longer than 1000 bytes"):
        ladder.fleet_of_agent(f"http://{at}")


def test_a_census_keeps_nothing_that_a_terminal_would_obey() -> None:
    told = census(small_cycle()).replace(b"S21[2J", b"S21\\u001b[2J").replace(b'"metered"', b'"met\\u0007ered"')
    assert b"\\u001b" in told
    document = ladder.ladder_document(ladder.fleet_of_census(told, "agent"), ladder.grid_of(hashprice="32"))
    assert not {"\x1b", "\x07"} & set(str(document))
