"""`hashwatt report` on a history in a file: the same as from memory, in every form; one line for what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from history_farm import account_of, prices_of, roster_of
from live_postgres import Postgres
from rich.console import Console

from agent import cli, report_run, report_view
from agent.config import load, load_history
from agent.history import History
from agent.report import GROUPINGS, report_document
from agent.report_books import Books, Days
from agent.report_run import homes_of
from fleet.account import COLUMN, Account, PriceSpan, Span, total
from fleet.localtime import zone_of

KATHMANDU = ZoneInfo("Asia/Kathmandu")  # 5 h 45 min before UTC
MAY_1 = date(2024, 5, 1)
START_S = 1_714_500_900.0  # 2024-04-30 18:15 UTC
DAY_S = 86_400.0


def config_file(folder: Path) -> Path:
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\ntime_zone = "{KATHMANDU}"\n[journal]\npath = "hashwatt.db"\n'
        '[[miners]]\ntargets = ["10.1.0.1"]\n[tariff]\nusd_per_kwh = 0.05\n'
    )
    return path


def a_day(machines: int = 50, hours: int = 24) -> tuple[list[Account], list[PriceSpan]]:
    """Hours of a day in which half of the farm came later, so that not all of them have the same rows."""
    rosters = (roster_of(machines // 2), roster_of(machines))
    starts = [START_S + 3600.0 * hour for hour in range(hours)]
    accounts = [account_of(rosters[start_s > START_S + 20_000.0], start_s) for start_s in starts]
    return accounts, [price for start_s in starts for price in prices_of(start_s)]


def kept(path: Path, accounts: list[Account], prices: list[PriceSpan]) -> Path:
    history = History.open(load(path).history_path)
    with closing(history):
        history.keep(accounts, prices)
        history.tidy(START_S + DAY_S + 60.0, zone_of(KATHMANDU))
    return load(path).history_path


def said(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> str:
    assert cli.main(["report", "--config", str(path), "--day", str(MAY_1), *words]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    return out


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    path = config_file(tmp_path)
    kept(path, *a_day())
    return path


# --- the same from the file as from memory ---------------------------------------------------------------------------


def test_a_day_from_the_file_is_bit_by_bit_the_day_from_memory(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounts, prices = a_day()
    days = Days(MAY_1, MAY_1)
    whole = total(Span.DAY, accounts)
    in_memory = Books(
        days, KATHMANDU, START_S, START_S + DAY_S, START_S + DAY_S, (whole,), tuple(accounts), tuple(prices)
    )
    assert said(capsys, farm, "--json") == orjson.dumps(report_document("north", in_memory)).decode() + "\n"


def test_hours_that_are_not_rolled_up_yet_make_the_same_day(
    farm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other := tmp_path / "other").mkdir()
    path = config_file(other)
    accounts, prices = a_day()
    with closing(History.open(load(path).history_path)) as history:
        history.keep(accounts, prices)
        # the agent that writes it runs
        assert json.loads(said(capsys, path, "--json")) == json.loads(said(capsys, farm, "--json"))


# --- the forms -------------------------------------------------------------------------------------------------------


def test_every_grouping_is_in_the_json_and_one_in_the_csv(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(said(capsys, farm, "--json"))
    assert tuple(document["groups"]) == GROUPINGS
    for grouping in GROUPINGS:
        lines = list(csv.DictReader(io.StringIO(said(capsys, farm, "--csv", "-", "--by", grouping))))
        rows = document["groups"][grouping]
        assert [line[grouping] for line in lines] == [row["name"] or "" for row in rows]
        for line, row in zip(lines, rows, strict=True):
            assert {name: line[name] for name in list(line)[1:]} == {
                name: "" if value is None else str(value) for name, value in list(row.items())[1:]
            }
    by_machine = list(csv.DictReader(io.StringIO(said(capsys, farm, "--csv", "-"))))
    assert len(by_machine) == 50
    energy_j = sum(int(float(line["energy_j"])) for line in by_machine)
    assert energy_j == document["groups"]["site"][0]["energy_j"]


def test_hours_without_an_agent_are_told_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent ran for the first 20 hours of the day, and the day before."""
    path = config_file(tmp_path)
    accounts, prices = a_day(hours=20)
    with closing(History.open(load(path).history_path)) as history:
        history.keep([account_of(roster_of(1), START_S - 3600.0), *accounts], prices)
    line = "nothing is booked of 4.0 of 24.0 h: no agent ran, or it knew nothing; they are in no figure"
    assert line in said(capsys, path).splitlines()
    said(capsys, path, "--html", str(tmp_path / "report.html"))
    assert f"<p>{line}</p>" in (tmp_path / "report.html").read_text()
    document = json.loads(said(capsys, path, "--json"))
    assert (document["length_h"], document["not_booked_h"]) == (24.0, pytest.approx(4.0, abs=0.01))
    for told in csv.DictReader(io.StringIO(said(capsys, path, "--csv", "-"))):
        assert float(told["not_booked_h"]) == document["not_booked_h"]
        assert float(told["booked_ratio"]) == pytest.approx(20 / 24, abs=1e-3)


def test_a_table_for_each_grouping(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, farm)
    assert out.startswith("north: 2024-05-01 (Asia/Kathmandu)\n50 machines; known of the time: power ")
    assert "Antminer S21 " in out
    for grouping, told in (("rack", "hall-1/1 "), ("owner", "(no owner) "), ("machine", "02:00:00:00:00:31 ")):
        assert told in said(capsys, farm, "--by", grouping)
    site = said(capsys, farm, "--by", "site").splitlines()
    assert sum(line.startswith(("north ", "all ")) for line in site) == 1


def test_no_number_is_cut_at_80_columns_and_of_many_machines_the_worst_are_shown(tmp_path: Path) -> None:
    roster = roster_of(10_000, "Antminer S19j Pro (104T)")
    whole = account_of(roster, START_S, Span.DAY, DAY_S)
    whole.counts[:200, COLUMN["priced_s"]] = 0  # whose margin nobody knows
    whole.counts[:200, [COLUMN["revenue_usd"], COLUMN["cost_usd"]]] = 0
    whole.counts[200:, COLUMN["revenue_usd"]] = 2 * whole.counts[200:, COLUMN["cost_usd"]]  # all others earn
    books = Books(Days(MAY_1, MAY_1), KATHMANDU, START_S, START_S + DAY_S, START_S + DAY_S, (whole,), (), ())
    document = report_document("north", books)
    for width in (80, 120, 165):
        for grouping in ("model", "machine"):
            stream = io.StringIO()
            report_view.show(document, grouping, Console(file=stream, width=width))
            assert "…" not in stream.getvalue()
            assert f"{document['groups']['site'][0]['cost_usd']:,.2f}" in stream.getvalue()
    assert "10,000 in all, the lowest margins shown" in stream.getvalue()
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("02:") and ", " not in line]
    assert len(lines) == report_view.MOST_ROWS
    worst = min((row for row in document["groups"]["machine"][200:]), key=lambda row: row["margin_usd"])
    assert lines[0].startswith(worst["name"])


def test_files_are_written_where_they_are_wanted(
    farm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, farm, "--csv", str(tmp_path / "r.csv"), "--by", "model", "--html", str(tmp_path / "r.html"))
    assert out.startswith("north: 2024-05-01")
    assert (tmp_path / "r.csv").read_text() == said(capsys, farm, "--csv", "-", "--by", "model")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")


def test_a_text_is_no_formula_in_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path)
    kept(path, [account_of(roster_of(1, '=HYPERLINK("x")'), START_S)], [])
    (line,) = csv.DictReader(io.StringIO(said(capsys, path, "--csv", "-")))
    assert line["model"] == '\'=HYPERLINK("x")'


def test_a_wide_sign_begins_a_formula_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path)
    kept(path, [account_of(roster_of(1, "\uff1dcmd"), START_S)], [])
    (line,) = csv.DictReader(io.StringIO(said(capsys, path, "--csv", "-")))
    assert line["model"] == "'\uff1dcmd"


@pytest.mark.parametrize("words", [("--by", "model"), ("--csv", "-")], ids=" ".join)
def test_a_terminal_that_cannot_show_a_name_shows_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    path, shown = config_file(tmp_path), io.BytesIO()
    kept(path, [account_of(roster_of(1, "M\u00fcller \u26cf"), START_S)], [])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "latin-1", write_through=True))
    assert cli.main(["report", "--config", str(path), "--day", str(MAY_1), *words]) == 0
    assert "M\u00fcller \\u26cf" in shown.getvalue().decode("latin-1")


def test_the_usual_day_is_the_newest_finished_one(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = load_history(farm)
    for now_s in (START_S + DAY_S + 1.0, START_S + 9 * DAY_S):
        assert report_run.run(place, report_run.Wanted(), lambda now_s=now_s: now_s) == 0
        assert capsys.readouterr().out.startswith("north: 2024-05-01 ")
    assert report_run.run(place, report_run.Wanted(day="2024-04-01"), lambda: START_S + 2 * DAY_S) == 1
    assert "nothing was kept of 2024-04-01, its newest finished day is 2024-05-01" in capsys.readouterr().err
    so_far = START_S + 12 * 3600.0
    assert report_run.run(place, report_run.Wanted(), lambda: so_far) == 1
    assert "--day today shows the day so far" in capsys.readouterr().err
    assert report_run.run(place, report_run.Wanted(day="today"), lambda: so_far) == 0
    assert "SO FAR, until 2024-05-01 12:00" in capsys.readouterr().out


# --- what goes wrong -------------------------------------------------------------------------------------------------


def failed(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> tuple[int, str]:
    code = cli.main(["report", "--config", str(path), *words])
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.count("\n") == 1
    assert "\x1b" not in errors
    return code, errors


def test_what_is_not_there_is_one_line_and_what_cannot_be_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path)
    day = f"--day={MAY_1}"
    code, errors = failed(capsys, path, day)
    assert (code, "there is no history at" in errors, "hashwatt run" in errors) == (1, True, True)
    kept(path, *a_day(2))
    code, errors = failed(capsys, path, "--day=2024-04-01")
    assert code == 1
    assert "nothing was kept of 2024-04-01" in errors
    for words, told in (
        (("--day=1.5.2024",), "--day: '1.5.2024' is no day"),
        (("--day=\x1b[2J",), "--day: "),
        ((day, "--by=colour"), "--by: 'colour' is none of site, owner"),
        ((day, "--json", "--csv=-"), "--csv: - and --json both want standard output"),
        ((day, "--csv=/nowhere/at/all.csv"), "--csv: No such file or directory: /nowhere/at/all.csv"),
        ((day, "--html=/nowhere/at/all.html"), "--html: No such file or directory"),
        ((day, "--html=-"), "--html: wants the name of a file"),
    ):
        code, errors = failed(capsys, path, *words)
        assert (code, errors.startswith(told)) == (2, True), errors


def test_a_reader_needs_no_other_secret_and_no_inventory(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = farm.read_text()
    farm.write_text(written + '[mqtt]\nurl = "mqtts://broker"\nusername = "x"\npassword_file = "not-for-you"\n')
    assert said(capsys, farm).startswith("north: 2024-05-01")
    farm.write_text(written.replace("Asia/Kathmandu", "Asia/Nowhere"))
    code, errors = failed(capsys, farm)
    assert (code, errors.startswith("hashwatt.toml: site.time_zone: ")) == (2, True)
    assert homes_of(load_history(other_home(farm, written))) == (farm.with_name("hashwatt-history.db"), URL)


URL = "postgresql://farm:secret@127.0.0.1:1/hashwatt"


def other_home(farm: Path, written: str) -> Path:
    farm.write_text(written + '[history]\nurl_file = "url"\n')
    farm.with_name("url").write_text(URL)
    return farm


def test_a_server_is_asked_only_for_what_the_file_has_not_and_its_password_is_not_told(
    farm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other_home(farm, farm.read_text())
    assert said(capsys, farm).startswith("north: 2024-05-01")  # nobody listens there
    code, errors = failed(capsys, farm, "--day=2024-04-01")
    assert (code, "nothing was kept of 2024-04-01; " in errors, "secret" in errors) == (1, True, False)
    assert "127.0.0.1" in errors


@pytest.mark.peer("postgres")
def test_a_day_that_only_the_server_has_is_the_same_day(
    farm: Path, tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    of_file = said(capsys, farm, "--json")
    (other := tmp_path / "other").mkdir()
    path = other_home(config_file(other), config_file(other).read_text())
    server = Postgres(free_port)
    try:
        server.start()
        path.with_name("url").write_text(server.url("postgres"))
        accounts, prices = a_day()
        with closing(History.open(server.url("postgres"))) as history:
            history.keep(accounts, prices)
        kept(path, [replace(accounts[0], start_s=START_S - DAY_S, end_s=START_S - DAY_S + 3600.0)], [])
        assert said(capsys, path, "--json") == of_file
    finally:
        server.remove()


def test_a_damaged_file_is_one_line_and_a_damaged_hour_is_named(farm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = load(farm).history_path
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM spans WHERE span = 'day'")
        database.execute("UPDATE spans SET content = x'00' WHERE span = 'hour' AND start_s = ?", (START_S + 7200,))
        database.commit()
    document = json.loads(said(capsys, farm, "--json"))
    assert document["unreadable"] == ["hour of 2024-04-30 20:15 UTC"]
    assert len(document["steps"]) == 23
    assert "damaged, and in no number below: hour of 2024-04-30 20:15 UTC" in said(capsys, farm)
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    code, errors = failed(capsys, farm, f"--day={MAY_1}")
    assert code == 1
    assert str(path) in errors


def test_a_file_that_an_agent_has_only_begun_holds_nothing_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    farm = config_file(tmp_path)
    path = load(farm).history_path
    path.write_bytes(b"")
    assert failed(capsys, farm) == (1, f"history {path}: holds nothing yet\n")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1")  # a page, and no table in it
        database.commit()
    assert path.stat().st_size > 0
    assert failed(capsys, farm) == (1, f"history {path}: holds nothing yet\n")


def test_ten_times_the_machines_cost_little_more_than_ten_times_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long 10,000 take by the clock is told by benchmarks/report.py."""
    cpu_s: dict[int, list[float]] = {}
    for machines in (1_000, 10_000):
        (folder := tmp_path / str(machines)).mkdir()
        path = config_file(folder)
        roster = roster_of(machines)
        kept(path, [account_of(roster, START_S + 3600.0 * hour) for hour in range(24)], prices_of(START_S))
        for words in ((), ("--csv", "-"), ("--html", str(tmp_path / "report.html"))):
            start_s = time.process_time()
            said(capsys, path, *words)
            cpu_s.setdefault(machines, []).append(time.process_time() - start_s)
    assert all(many < 20.0 * few for few, many in zip(*cpu_s.values(), strict=True))
    assert (tmp_path / "report.html").stat().st_size < 4e6


def test_a_history_of_nothing_has_no_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(tmp_path)
    kept(path, [], [])
    code, errors = failed(capsys, path)
    assert (code, "no finished day in it yet" in errors) == (1, True)


@pytest.mark.parametrize("words", [(), ("--by", "machine"), ("--csv", "-"), ("--html", "-"), ("--json",)], ids=" ".join)
def test_a_site_without_machines_has_a_report_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """An agent that only looks for machines keeps hours of nobody before it finds the first."""
    path, page = config_file(tmp_path), tmp_path / "page.html"
    kept(path, [account_of(roster_of(0), START_S + 3600.0 * hour) for hour in range(24)], [])
    text = said(capsys, path, *(str(page) if word == "-" and "--html" in words else word for word in words))
    if "--csv" in words:
        assert len(list(csv.reader(io.StringIO(text)))) == 1
    elif "--json" in words:
        assert [row["energy_kwh"] for row in json.loads(text)["groups"]["site"]] == [None]
    else:
        assert "0 machines; known of the time: power –" in text
    if "--html" in words:
        assert "By site" in page.read_text()


def test_a_machine_whose_name_cannot_be_printed_may_lose_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, nameless = config_file(tmp_path), replace(roster_of(1), ids=("\x00",))
    account = account_of(nameless, START_S)
    account.counts[:, COLUMN["cost_usd"]] = 10**12
    kept(path, [account], [])
    assert "1 machine cost more than earned" in (text := said(capsys, path, "--html", str(tmp_path / "page.html")))
    assert "(no name)" in text
    assert "(no name)" in (tmp_path / "page.html").read_text()
