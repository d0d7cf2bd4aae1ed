"""`hashwatt worth` of a look and of a journal: verdicts, what is not judged, feeders, the picture, its refusals."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from answering_agent import agent_that_answers
from cycles import make_snapshot

from agent import cli, fleet_page, ladder, wiring, worth_view
from agent.config import load
from agent.journal import Journal
from agent.plan import site_of
from agent.record import encode_cycle_inputs
from exporters.census import census
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import InputState, Market, MarketInput, Quote
from fleet.readings import PowerSource, Reason
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import MachineInfo, Snapshot
from fleet.tariff import PowerPrice

AT_S = 1_770_000_000.0
INVENTORY = """id,model,feeder
a,Antminer S21,F1
b,Antminer S19j Pro,F1
c,Antminer S19j Pro,F2
d,Antminer S21,F2
"""
HASHPRICE_32 = Market(tuple(
    Quote(of, "fixed", value, AT_S, 1e9, 1e9)
    # 86400e15 / (D * 2^32) * 3.15 BTC per PH/s and day, and 71,536 USD each: 32.00
    for of, value in ((MarketInput.BTC_USD, 71_536.0), (MarketInput.DIFFICULTY, 141.668e12),
                      (MarketInput.HEIGHT, 935_140.0), (MarketInput.BLOCK_FEES_BTC, 0.025))
))  # fmt: skip
KEEP = """[economics.keep]
months = 12
uptime_ratio = 1.0
slot_usd_month = 5.0
repair_usd_month = 0.0
labour_usd_month = 0.0
resale_usd_th = 1.0
residual_usd_th = 0.0
discount_per_year = 0.0
hashprice_decline_per_year = 0.0
hashprice_sigma_per_root_year = 0.0
"""
FEEDERS = "[feeders.F1]\nalternative_usd_per_kwh = 0.211\n"


def config_file(
    folder: Path, more: str = KEEP + FEEDERS, tariff: str = "usd_per_kwh = 0.05", listen: str = "127.0.0.1:1"
) -> str:
    """Where the agent would listen nobody does, unless a test says where."""
    (folder / "inventory.csv").write_text(INVENTORY)
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\ninventory = "inventory.csv"\n[journal]\npath = "{folder}/hashwatt.db"\n'
        f'[prometheus]\nlisten = "{listen}"\n'
        f"[tariff]\n{tariff}\n[economics]\npool_fee = 0.0\nreject = 0.0\noverhead = 0.0\n{more}"
    )
    return str(path)


def site_in(path: str) -> Site:
    return site_of(load(path), "model,hashrate_th,power_w\n")


def snapshot_of(count: int = 4) -> Snapshot:
    """Two of 17.5 J/TH and two of 29.5 J/TH, of which the last does not answer; then again the same."""
    nan, times = np.nan, count // 4
    return make_snapshot(
        tuple("abcd"[i % 4] + ("" if count == 4 else str(i)) for i in range(count)),
        infos=tuple(MachineInfo(model=model) for model in ("Antminer S21", "Antminer S19j Pro", "", "")) * times,
        up=[1, 1, 1, 0] * times,
        hashrate_hs=[200e12, 100e12, 100e12, nan] * times,
        power_w=[3500.0, 2950.0, 2950.0, nan] * times,
        power_source=[PowerSource.METERED, PowerSource.METERED, PowerSource.METERED, PowerSource.NONE] * times,
        is_running=[True, True, True, False] * times,
    )


def cycle_of(path: str) -> Cycle:
    return think(site_in(path), snapshot_of(), HASHPRICE_32, Signals(), Policy(), Memory(), AT_S)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["worth", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration whose machines are those above: there is none to ask."""
    path = config_file(tmp_path)
    monkeypatch.setattr(wiring, "once", lambda _: cycle_of(path))
    return path


def test_both_questions_of_one_look(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--config", path)
    assert (document["basis"], document["machines"], document["priced"]) == ("look", 4, 3)
    assert document["unpriced"] == {"unreachable": 1}
    assert document["hashprice_usd_ph_day"] == pytest.approx(32.0, abs=0.01)
    assert document["dispatch"] == {"run": 1, "stop": 2, "uncertain": 0, "unknown": 1}
    assert document["retire"] == {"keep": 1, "retire": 2, "uncertain": 0, "unknown": 1}
    assert [machine["id"] for machine in document["by_machine"]] == ["b", "c", "a", "d"]
    b, _, a, d = document["by_machine"]
    # 200 TH/s at 32 make 0.2667 USD/h, 3.5 kW at 0.05 cost 0.175: 8766 h of 0.0917, less 12 * 5, against 200
    assert a["keep_usd"] == pytest.approx(8766 * (32 / 24 * 0.2 - 0.175) - 60, abs=1.0)
    assert (a["dispatch"], a["retire"], a["resale_usd"]) == ("run", "keep", 200.0)
    # 0.1333 against 0.1475: it would stand the whole year and pay its rent
    assert (b["dispatch"], b["retire"], b["keep_usd"], b["resale_usd"]) == ("stop", "retire", -60.0, 100.0)
    assert (d["unpriced"], d["dispatch"], d["retire"], d["keep_usd"], d["resale_usd"]) == (
        "unreachable", None, None, None, None,
    )  # fmt: skip


def hosted_cycle(path: str) -> Cycle:
    """The machine `a` pays a host, and the others the site's tariff; nobody is sure of anything."""
    site = site_in(path)
    site = replace(
        site,
        terms=replace(site.terms, certainty_sigmas=40.0),
        machines=(replace(site.machines[0], tariff="hosted"), *site.machines[1:]),
    )
    power = (
        PowerPrice("", 0.05, "flat", InputState.FRESH),
        PowerPrice("hosted", 0.03, "flat", InputState.FRESH, profit_share=0.5),
    )
    return think(site, snapshot_of(), HASHPRICE_32, Signals(), Policy(), Memory(), AT_S, power)


def test_the_agent_that_runs_is_asked_first_and_nobody_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(wiring, "once")
    cycle = hosted_cycle(config_file(tmp_path))
    with agent_that_answers(census(cycle)) as at:
        document = said(capsys, "--config", config_file(tmp_path, listen=at))
        named = said(capsys, "--config", config_file(tmp_path), "--url", f"http://{at}")
        assert named == document | {"age_s": named["age_s"]}
        assert cli.main(["worth", "--config", config_file(tmp_path, listen=at)]) == 0
        assert "by the agent's newest cycle of 2026-02-02T02:40:00.000Z" in capsys.readouterr().out
    assert (document["basis"], document["priced"]) == ("agent", 3)
    a = next(machine for machine in document["by_machine"] if machine["id"] == "a")
    # 0.2667 USD/h less 3.5 kW at 0.03, of which the host takes half
    assert a["keep_usd"] == pytest.approx(8766 * 0.5 * (32 / 24 * 0.2 - 0.105) - 60, abs=1.0)
    assert a["retire"] == "uncertain"  # it makes 449 USD more here, 27 of them its error
    # and all as if the same machines had been looked at
    monkeypatch.setattr(wiring, "once", lambda _: cycle, raising=False)
    looked = said(capsys, "--look", "--config", config_file(tmp_path))
    assert document == looked | {"basis": "agent", "age_s": document["age_s"]}


@pytest.mark.parametrize("prices", ["usd_per_kwh = 0.05", 'per_kwh_file = "prices.csv"\nstep_min = 60'])
def test_a_tariff_that_changes_counts_on_average_also_by_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prices: str
) -> None:
    (tmp_path / "prices.csv").write_text("time,value\n2030-01-01T00:00:00Z,0.05\n")
    more = KEEP + "power_usd_kwh = 0.01\n"
    cycle = cycle_of(config_file(tmp_path))
    with agent_that_answers(census(cycle)) as at:
        document = said(capsys, "--config", config_file(tmp_path, more, prices, at))
    a = next(machine for machine in document["by_machine"] if machine["id"] == "a")
    usd_kwh = 0.05 if prices.startswith("usd") else 0.01
    assert a["keep_usd"] == pytest.approx(8766 * (32 / 24 * 0.2 - 3.5 * usd_kwh) - 60, abs=1.0)


def told(path: str, *changes: tuple[bytes, bytes]) -> bytes:
    """What an agent tells, with changes."""
    body = census(cycle_of(path))
    for old, new in changes:
        assert old in body
        body = body.replace(old, new, 1)
    return body


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([(b"hashwatt.fleet/2", b"hashwatt.fleet/1")], "the agent is older than this command"),
        ([(b'"tariffs":', b'"others":')], "Object missing required field `tariffs`"),
        ([(b'"profit_share":0.0', b'"profit_share":7')], "Expected `float` <= 1.0"),
        ([(b'"certainty_sigmas":1.0', b'"certainty_sigmas":-1')], "Expected `float` >= 0.0"),
        ([(b'"dispatch":[1,', b'"dispatch":[9,')], "a word is missing"),
        ([(b'"dispatch":[1,', b'"dispatch":[')], "its columns have several lengths"),
        ([(b'"dispatch":["","run"', b'"dispatch":["","r\\u001b[2Jn"')], "'r[2Jn' is no word of ours"),
        ([(b'"margin_error_usd_h":[0', b'"margin_error_usd_h":[1e300,0')], "Expected `float` <= 1e+30"),
    ],
    ids=["older", "tariffs", "share", "sigmas", "place", "lengths", "word", "huge"],
)
def test_an_answer_that_is_no_fleet_is_said_in_a_line_and_one_look_taken(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[tuple[bytes, bytes]], why: str
) -> None:
    with agent_that_answers(told(path, *changes)) as at:
        assert cli.main(["worth", "--json", "--config", config_file(tmp_path, listen=at)]) == 0
        out, errors = capsys.readouterr()
        assert json.loads(out)["basis"] == "look"
        assert f"no fleet from an agent at http://{at}: its answer is no fleet ({why}" in errors
        assert (errors.count("\n"), "\x1b" in errors) == (1, False)
        assert cli.main(["worth", "--url", f"http://{at}", "--config", path]) == 1
        out, errors = capsys.readouterr()
        assert (out, errors.count("\n")) == ("", 1)


def test_a_ladder_reads_also_what_an_older_agent_tells(path: str) -> None:
    document = json.loads(told(path))
    new = {"machines": ("tariff", "unpriced_now", "dispatch", "margin_error_usd_h"), "terms": ("certainty_sigmas",),
           "words": ("tariff", "unpriced_now", "dispatch")}  # fmt: skip
    for part, names in new.items():
        for name in names:
            del document[part][name]
    del document["tariffs"]
    older = json.dumps(document | {"schema": "hashwatt.fleet/1"}).encode()
    assert ladder.fleet_of_census(older, "agent").hashrate_hs[0] == 200e12
    with pytest.raises(ValueError, match="older than this command"):
        fleet_page.decode(older, fleet_page.WorthCensus)


def test_a_machine_whose_advice_has_just_turned_says_why_it_has_no_margin(path: str) -> None:
    """It was valued as one that stands, and its basis is gone with the advice."""
    body = json.loads(told(path))
    why = body["words"]["unpriced"].index("unreachable")
    body["machines"]["unpriced"][0], body["machines"]["hashrate_hs"][0], body["machines"]["power_w"][0] = (
        why,
        None,
        None,
    )
    holding = fleet_page.holding_of_census(fleet_page.decode(json.dumps(body).encode(), fleet_page.WorthCensus))
    assert holding.economics.reason.tolist()[0] == Reason.UNREACHABLE
    assert holding.economics.dispatch.tolist()[0] == 0
    assert np.isnan(holding.economics.margin_usd_h[0])


def test_models_and_feeders_add_up(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--config", path)
    s19j, s21 = document["models"]
    assert (s19j["model"], s19j["machines"], s19j["judged"], s19j["keep_usd"], s19j["resale_usd"]) == (
        "Antminer S19j Pro", 2, 2, -120.0, 200.0,
    )  # fmt: skip
    assert (s21["machines"], s21["judged"], s21["resale_usd"]) == (2, 1, 200.0)
    assert s21["retire"] == {"keep": 1, "retire": 0, "uncertain": 0, "unknown": 1}
    one, two = document["feeders"]
    assert (one["feeder"], one["machines"], one["power_w"], one["below_alternative_w"]) == ("F1", 2, 6450.0, 6450.0)
    assert one["mining_usd_kwh"] == pytest.approx(32 / 24 * 0.3 / 6.45, abs=1e-5)
    assert (one["alternative_usd_kwh"], one["is_worth_more"]) == (0.211, True)
    assert (two["unpriced"], two["power_w"], two["alternative_usd_kwh"], two["is_worth_more"]) == (
        1,
        2950.0,
        None,
        None,
    )


def test_the_journal_is_judged_by_the_words_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path, more="")
    journal = Journal.open(load(path).journal_path)
    try:
        assert cli.main(["worth", "--journal", "--config", path]) == 1
        assert capsys.readouterr().err.count("\n") == 1
        record = encode_cycle_inputs(
            site_in(path), snapshot_of(), HASHPRICE_32, Signals(), Policy(), Memory(), AT_S, ()
        )
        journal.commit_decision(Memory(), record, "newest", AT_S)
        document = said(capsys, "--journal", "--config", path)
        assert (document["basis"], document["retire"]["unknown"], document["dispatch"]["stop"]) == ("journal", 4, 2)
        assert document["age_s"] == pytest.approx(time.time() - AT_S, abs=60.0)  # the newest may be an old one
        document = said(capsys, "--journal", "--config", config_file(tmp_path))
        assert (document["basis"], document["retire"]["retire"]) == ("journal", 2)
    finally:
        journal.close()


def test_what_is_not_told_and_what_leads_nowhere_stand_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = (
        '[economics.keep.models."S19 jpro"]\n[economics.keep.models."S99"]\n[feeders.F9]\nalternative_usd_per_kwh = 1\n'
    )
    path = config_file(tmp_path, KEEP.replace("months = 12\n", "") + strange)
    monkeypatch.setattr(wiring, "once", lambda _: cycle_of(path))
    assert cli.main(["worth", "--config", path]) == 0
    out = capsys.readouterr().out
    assert "nobody is judged: [economics.keep] must tell every term" in out
    assert "economics.keep.models.'S99': nothing is judged without months" in out
    assert "economics.keep.models.'S99': no machine of this model was seen" in out
    assert "'S19 jpro': no machine" not in out
    assert "feeders: no line of the inventory names 'F9'; it has F1, F2" in out


def test_nothing_priced_is_exit_1(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = think(site_in(path), snapshot_of(), Market(), Signals(), Policy(), Memory(), AT_S)
    monkeypatch.setattr(wiring, "once", lambda _: dark)
    assert cli.main(["worth", "--config", path]) == 1
    out = capsys.readouterr().out
    assert "0 of 4 machines priced" in out
    assert "hashprice – USD/PH/day" in out
    assert "F1 2 2 0.0 % – W – 0.2110 – –" in [" ".join(line.split()) for line in out.splitlines()]


@pytest.mark.parametrize(("by", "lines"), [
    ("model", ["Antminer S19j Pro 2 0 2 0 0 2 0 -120 200"]),
    ("feeder", ["F1 2 0 100.0 % 6450 W 0.0620 0.2110 6450 W yes", "F2 2 1 50.0 % 2950 W 0.0452 – – –"]),
    ("machine", ["b Antminer S19j Pro F1 stop retire -0.0142 -60 0 100", "d Antminer S21 F2 unreachable – – – – –"]),
])  # fmt: skip
def test_one_table_when_asked(path: str, capsys: pytest.CaptureFixture[str], by: str, lines: list[str]) -> None:
    assert cli.main(["worth", "--config", path, "--by", by]) == 0
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert set(lines) <= set(out)
    heads = {"model": "model machines", "feeder": "feeder machines", "machine": "machine model"}
    assert [by for by, head in heads.items() if any(line.startswith(head) for line in out)] == [by]


@pytest.mark.parametrize("by", ["model", "feeder", "machine"])
def test_the_picture_is_sound_and_escapes_what_it_is_told(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    document = said(capsys, "--config", path, "--by", by, "--svg", str(tmp_path / "worth.svg"))
    tree = ElementTree.parse(tmp_path / "worth.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    rows = document[worth_view.PARTS[by]]
    bars = [row[key] for row in rows for key in worth_view.MEANT[by][1:] if row[key] is not None]
    assert len(tree.findall(f"{space}rect")) == 1 + len(bars)
    widths = [float(bar.attrib["width"]) for bar in tree.findall(f"{space}rect")[1:]]
    assert max(widths) == pytest.approx(widths[bars.index(max(bars, key=abs))])
    picture = worth_view.svg({**document, "site": "<b>&north"}, by)
    assert any(
        (text.text or "").startswith("<b>&north, ") for text in ElementTree.fromstring(picture).iter(f"{space}text")
    )


def test_a_picture_of_many_says_how_many_more(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = said(capsys, "--config", path)
    many = {**document, "by_machine": document["by_machine"] * 20}
    assert "and 40 more" in worth_view.svg(many, "machine")
    none = {**document, "feeders": []}
    ElementTree.fromstring(worth_view.svg(none, "feeder"))


@pytest.mark.parametrize("by", ["model", "machine", "feeder"])
def test_a_picture_of_nobody_is_a_line_and_no_empty_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Nobody is judged without terms, and in the dark no feeder earns anything."""
    path = config_file(tmp_path, more="")
    dark = think(site_in(path), snapshot_of(), Market(), Signals(), Policy(), Memory(), AT_S)
    monkeypatch.setattr(wiring, "once", lambda _: dark if by == "feeder" else cycle_of(path))
    cli.main(["worth", "--look", "--config", path, "--by", by, "--svg", str(tmp_path / "worth.svg")])
    space = "{http://www.w3.org/2000/svg}"
    tree = ElementTree.parse(tmp_path / "worth.svg").getroot()
    texts = [text.text or "" for text in tree.findall(f"{space}text")]
    assert len(texts) == 4  # the title, what the two colours are, and the line
    assert texts[-1] == worth_view.NOT_KNOWN[by]


def test_a_picture_that_cannot_be_written_is_one_line(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["worth", "--look", "--config", path, "--svg", "/no/such/folder/worth.svg"]) == 2
    out, errors = capsys.readouterr()
    assert (out, errors) == ("", "--svg: No such file or directory: /no/such/folder/worth.svg\n")


def test_ten_thousand_machines_answer_within_two_seconds_of_cpu(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = site_in(path)
    machines = tuple(replace(small.machines[i % 4], id=f"{'abcd'[i % 4]}{i}") for i in range(10_000))
    site = replace(small, machines=machines)
    big = think(site, snapshot_of(10_000), HASHPRICE_32, Signals(), Policy(), Memory(), AT_S)
    monkeypatch.setattr(wiring, "once", lambda _: big)
    start_s = time.process_time()
    document = said(capsys, "--config", path)
    assert time.process_time() - start_s < 2.0
    assert document["retire"] == {"keep": 2500, "retire": 5000, "uncertain": 0, "unknown": 2500}
