"""`hashwatt pdu test` and `pdu list`: the page docs/adding-a-pdu.md is followed from its first step to its last."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_pdu import serving

from agent import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "adding-a-pdu.md"
WALKS = ROOT / "tests" / "captures" / "pdus"
UNKNOWN = WALKS / "unknown_kilowerk_kw6m.snmprec"
RPDU2 = WALKS / "synthetic_apc_rpdu2.snmprec"


def block(first: str) -> str:
    """The block of TOML on the page that begins with this line."""
    found = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(next(text for text in found if text.startswith(first)))


def said(chapter: str, command: str) -> list[str]:
    """What a command says in a chapter, without blanks that align and without what is left out."""
    text = PAGE.read_text("utf-8").partition(f"## {chapter}")[2].partition("\n## ")[0]
    shown = text.partition(f"$ {command}")[2].partition("```")[0].splitlines()[1:]
    return [" ".join(line.split()) for line in shown if line.strip() != "..."]


def squeezed(out: str) -> list[str]:
    return [" ".join(line.split()) for line in out.splitlines()]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "kilowerk.toml"
    path.write_text(block("# kilowerk.toml\n"))
    return path


def tried(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["pdu", "test", *words])
    out, err = capsys.readouterr()
    return code, out, err


def judged(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = tried(capsys, *words, "--json")
    return code, json.loads(out)


# --- the page --------------------------------------------------------------------------------------------------------


def test_step_1_the_pdu_is_unknown_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(UNKNOWN, 1) as host:
        assert cli.main(["probe", host, "--pdu"]) == 1
        out = capsys.readouterr().out
        assert cli.main(["probe", host, "--pdu", "--json"]) == 1
    for line in said("1.", "hashwatt probe")[2:]:
        assert line in squeezed(out)
    assert f"hashwatt capture {host} --snmp" in out
    assert "hashwatt pdu test" in out
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["fault"]["kind"] == "unsupported"
    assert finding["unknown"] == {
        "sys_object_id": "1.3.6.1.4.1.99911.7.2",
        "sys_descr": "Kilowerk KW-6M rack power, firmware 3.11",
    }


def test_step_2_it_is_recorded_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(UNKNOWN, 2) as host:
        assert cli.main(["capture", host, "--snmp", "-o", str(tmp_path / "kw6m")]) == 0
    out = capsys.readouterr().out
    for line in said("2.", "hashwatt capture")[1:]:
        assert line in squeezed(out)
    assert f"58 objects of a PDU{said('2.', 'hashwatt capture')[0].partition('PDU')[2]}" in out


def test_step_3_the_shortest_profile_is_recognised_and_shows_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.toml"
    first.write_text(block("# kilowerk.toml: first"))
    code, out, _ = tried(capsys, str(first), str(UNKNOWN))
    assert code == 1  # nothing is read yet
    for line in said("3.", "hashwatt pdu test")[1:]:
        assert line in squeezed(out), line


def test_step_6_every_line_of_the_page_is_what_the_command_says(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = tried(capsys, str(profile), str(UNKNOWN))
    assert code == 0
    lines = said("6.", "hashwatt pdu test")
    assert len(lines) > 10
    for line in lines[1:]:
        assert line in squeezed(out), line


def test_the_numbers_are_what_the_display_of_the_invented_pdu_showed(
    profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """9.79 kW in all, 3,288 W and 13.9 A at outlet 1, outlet 3 off, 236 V, 27.3 degrees: chapter 4."""
    code, told = judged(capsys, str(profile), str(UNKNOWN))
    assert code == 0
    assert told["recognised"]
    assert told["winner"]["id"] == "kilowerk"
    reading = told["reading"]
    assert reading["identity"] == {"model": "KW-6M", "serial": "FR20931175", "firmware": "3.11", "name": None}
    total = reading["totals"]["power_w"]
    assert (total["value"], total["unit"], total["quality"], total["resolution"]) == (9790.0, "W", "measured", 10.0)
    assert total["ways"] == [{"from": "1.3.6.1.4.1.99911.7.1.5.0", "value": 9790.0, "is_used": True}]
    values = {
        (row["kind"], row["id"], cell["quantity"]): cell
        for row in reading["rows"] if row["counts"] for cell in row["cells"]
    }  # fmt: skip
    first = values["outlet", "1", "power_w"]
    assert (first["value"], first["unit"], first["oid"], first["raw"]) == (
        3288.4, "W", "1.3.6.1.4.1.99911.7.2.1.5.1", 32884,
    )  # fmt: skip
    assert values["outlet", "1", "current_a"]["value"] == 13.93
    assert values["outlet", "3", "is_on"]["value"] is False
    assert values["outlet", "4", "power_w"] | {"why": ""} == {
        "quantity": "power_w", "value": None, "unit": "W", "oid": "1.3.6.1.4.1.99911.7.2.1.5.4", "raw": 65535,
        "gap": "sentinel", "why": "", "quality": "measured", "resolution": 0.1, "is_used": False,
    }  # fmt: skip
    assert values["outlet", "6", "is_on"]["gap"] == "implausible"
    assert values["inlet", "1", "voltage_v"]["value"] == 236.1
    assert values["probe", "1", "temperature_c"]["value"] == 27.3
    (lost,) = (row for row in reading["rows"] if not row["counts"])
    assert (lost["kind"], lost["id"]) == ("probe", "2")
    assert "1.3.6.1.4.1.99911.7.3.1.2.2 is 1; it is 0" in lost["why_not"]
    assert reading["warnings"] == ["outlet.is_on.implausible"]
    assert [column["column"] for column in told["unread"]] == [
        f"1.3.6.1.4.1.99911.7.{scalar}" for scalar in ("1.4", "1.8", "9.1", "9.2")
    ]


def test_step_7_the_agent_reads_it_from_pdus_d(
    tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(UNKNOWN, 3) as host:
        config = tmp_path / "hashwatt.toml"
        config.write_text(
            f'[site]\nname = "north"\n[[pdus]]\ntargets = ["{host}"]\n[prometheus]\nlisten = "127.0.0.1:0"\n'
            f'[journal]\npath = "{tmp_path}/h.db"\n[tariff]\nusd_per_kwh = 0.06\n'
        )
        run = [sys.executable, "-m", "agent", "--config", str(config)]
        before = subprocess.run([*run, "once", "--json"], capture_output=True, text=True, cwd=ROOT)
        assert json.loads(before.stdout)["pdus"][0]["fault"] == "unsupported"
        assert before.stderr.count("is not read: unknown PDU: sysObjectID 1.3.6.1.4.1.99911.7.2") == 1
        assert "firmware 3.11; docs/adding-a-pdu.md makes it known\n" in before.stderr
        text = subprocess.run([*run, "once"], capture_output=True, text=True, cwd=ROOT).stdout
        assert f"hashwatt probe {host}" in text.replace("\n", "")
        (tmp_path / "pdus.d").mkdir()
        profile.rename(tmp_path / "pdus.d" / "kilowerk.toml")
        assert cli.main(["check", "--config", str(config)]) == 0
        assert "pdus.d: kilowerk" in capsys.readouterr().out
        assert cli.main(["probe", host, "--pdu", "--config", str(config)]) == 0
        assert "3,288.4 W" in capsys.readouterr().out
        after = subprocess.run([*run, "once", "--json"], capture_output=True, text=True, cwd=ROOT)
    (pdu,) = json.loads(after.stdout)["pdus"]
    assert (pdu["up"], pdu["profile"], pdu["power_w"]) == (True, "kilowerk", 9790.0)
    assert [outlet["power_w"] for outlet in pdu["outlets"]] == [3288.4, 3301.2, 0.0, None, 3195.0, 0.0]


# --- the verdict -----------------------------------------------------------------------------------------------------


def test_a_walk_of_another_family_is_shown_and_not_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = judged(capsys, "raritan_pdu2", str(RPDU2))
    assert code == 1
    assert not told["recognised"]
    assert told["winner"]["id"] == "apc_rpdu2"
    assert "sysObjectID 1.3.6.1.4.1.318.1.3.4.6 does not begin with 1.3.6.1.4.1.13742.6" in told["verdict"]
    assert "apc_rpdu2 knows it" in told["verdict"]


def test_a_packaged_family_that_fits_better_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two that fit: the longer prefix wins, and the one that loses is told to whom."""
    greedy = tmp_path / "greedy.toml"
    greedy.write_text('id = "greedy"\n[match]\nsys_object_id = ["318"]\n')
    _, told = judged(capsys, str(greedy), str(RPDU2))
    assert told["verdict"].startswith("taken for apc_rpdu2 (")
    assert "though greedy fits as well (sysObjectID 1.3.6.1.4.1.318.1.3.4.6)" in told["verdict"]


def test_every_way_to_the_total_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The synthetic walk: units 7310 + 4020 W; the watts of the older tree are those of one unit, and no total."""
    _, told = judged(capsys, "apc_rpdu2", str(RPDU2))
    ways = told["reading"]["totals"]["power_w"]["ways"]
    assert {way["from"]: (way["value"], way["is_used"]) for way in ways[:1]} == {"sum of unit rows": (11330.0, True)}
    assert ("1.3.6.1.4.1.318.1.1.12.1.16.0", None, False) in [tuple(way.values()) for way in ways]


def test_estimates_say_what_they_are_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "est.toml"
    profile.write_text(
        'id = "est"\n[match]\nsys_object_id = ["99911.7"]\n[[total.power_w]]\nrows = "inlet"\n'
        '[[tables]]\nkind = "inlet"\nrows = ["99911.7.1.6.0"]\nestimate = ["volts_x_amperes"]\ncolumns = ['
        '{ quantity = "voltage_v", oid = "99911.7.1.6.0", scale = 0.1 },'
        '{ quantity = "current_a", oid = "99911.7.2.1.4.1.0", scale = 0.001 },'
        '{ quantity = "current_a", oid = "99911.7.1.5.0" }]\n'
    )
    code, told = judged(capsys, str(profile), str(UNKNOWN))
    assert code == 0
    (row,) = told["reading"]["rows"]
    watts = next(cell for cell in row["cells"] if cell["quantity"] == "power_w")
    assert watts["value"] == pytest.approx(236.1 * 979)
    assert (watts["quality"], watts["oid"]) == ("estimated", None)
    assert "volts_x_amperes" in watts["why"]
    assert told["reading"]["totals"]["power_w"]["quality"] == "estimated"


# --- mistakes, one line each -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("id = 3\n", "mistake.toml: Expected `str`, got `int` - at `$.id`"),
        ('id = "x"\n', "`match`"),
        ('id = "x"\n[match]\nsys_object = []\n', "unknown field `sys_object` - at `$.match`"),
        ('id = "x"\n[match]\nsys_object_id = ["a.b"]\n', "'a.b' is not an OID in numbers"),
        ("id = \n", "line 1"),
        ("\x00", "mistake.toml"),
    ],
)
def test_a_mistake_in_a_profile_is_one_line_with_its_place(
    toml: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mistake.toml"
    path.write_text(toml)
    code, out, err = tried(capsys, str(path), str(UNKNOWN))
    assert (code, out) == (2, "")
    assert err.startswith("pdu test: ")
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("walk", "complaint"),
    [
        ("1.3.6.1|2\n", "walk.snmprec line 1: is not OID|TAG|VALUE"),
        ("1.3.6.1.2|2|5\n1.3.6.x|2|5\n", "walk.snmprec line 2: '1.3.6.x' is not an OID in numbers"),
        ("1.3.6.1.2|99|5\n", "line 1: tag '99' is not known"),
        ("# nothing\n", "holds no object"),
        (".1.3.6.1.2.1.1.1.0 = Oops: 5\n", "line 1: the type 'Oops' is not known"),
    ],
)
def test_a_mistake_in_a_walk_is_one_line_with_its_number(
    walk: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "walk.snmprec"
    path.write_text(walk)
    code, _, err = tried(capsys, "apc_rpdu2", str(path))
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1


def test_a_profile_or_walk_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tried(capsys, "no_such", str(UNKNOWN))[0] == 2
    assert "'no_such' is neither a file nor a known profile" in tried(capsys, "no_such", str(UNKNOWN))[2]
    assert "; did you mean apc_rpdu2" in tried(capsys, "apc-rpdu2", str(UNKNOWN))[2]
    assert "No such file" in tried(capsys, str(tmp_path / "x.toml"), str(UNKNOWN))[2]
    assert "No such file" in tried(capsys, "apc_rpdu2", str(tmp_path / "x.snmprec"))[2]
    assert "holds no .snmprec" in tried(capsys, "apc_rpdu2", str(tmp_path))[2]


def test_a_walk_that_was_begun_too_deep_says_where_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`snmpwalk` without an OID walks 1.3.6.1.2.1 alone."""
    walk = tmp_path / "walk.txt"
    walk.write_text(".1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.318.1.3.4.6\n")
    code, out, _ = tried(capsys, "apc_rpdu2", str(walk))
    assert code == 1
    assert out.endswith("nothing below 1.3.6.1.4.1, where makers put what their devices measure: walk .1.3.6.1\n")
    assert "nothing below" not in tried(capsys, "apc_rpdu2", str(RPDU2))[1]


def test_a_bad_profile_in_pdus_d_stops_the_agent_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pdus.d").mkdir()
    (tmp_path / "pdus.d" / "mine.toml").write_text('id = "mine"\n[match]\n[[tables]]\nkind = "outlets"\ncolumns = []\n')
    config = tmp_path / "hashwatt.toml"
    config.write_text('[site]\nname = "north"\n')
    for words in (["check"], ["run"], ["once"], ["pdu", "list"], ["probe", "127.0.0.1", "--pdu"]):
        assert cli.main([*words, "--config", str(config)]) == 2, words
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "site.pdus_dir: " in err
        assert "mine.toml" in err
        assert "$.tables[0].kind" in err


# --- other walks, and the list ---------------------------------------------------------------------------------------


def test_what_snmpwalk_prints_is_a_walk_as_well(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = tmp_path / "kw6m.txt"
    kinds = {
        "2": "INTEGER",
        "65": "Counter32",
        "66": "Gauge32",
        "6": "OID",
        "4": "STRING",
        "67": "Timeticks",
        "64": "IpAddress",
    }
    with printed.open("w") as out:
        for line in UNKNOWN.read_text().splitlines():
            oid, tag, value = line.replace("64x|c612a4d1", "64|198.18.164.209").split("|")
            value = {"4": f'"{value}"', "67": f"({value}) 5 days, 13:55:19.00", "6": f".{value}"}.get(tag, value)
            out.write(f".{oid} = {kinds[tag]}: {value}\n")
    of_print, of_record = (judged(capsys, str(profile), str(walk))[1] for walk in (printed, UNKNOWN))
    assert of_print["values"] == 25
    assert of_print | {"walk": ""} == of_record | {"walk": ""}


def test_the_list_names_every_family_and_the_operators_own(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pdus.d").mkdir()
    profile.rename(tmp_path / "pdus.d" / "kilowerk.toml")
    config = tmp_path / "hashwatt.toml"
    config.write_text('[site]\nname = "north"\n')
    assert cli.main(["pdu", "list", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^kilowerk +Kilowerk rack power \(KW-6M\) \(your own\)$", out, re.MULTILINE)
    assert re.search(r"^apc_rpdu2 +APC", out, re.MULTILINE)
    assert cli.main(["pdu", "list", "--json", "--config", str(config)]) == 0
    listed = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["kilowerk"]["own"]
    assert not listed["apc_rpdu2"]["own"]
