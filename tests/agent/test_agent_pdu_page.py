"""docs/adding-a-pdu.md beyond its first example: the PDU without tables, and that no key of a profile is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from live_pdu import serving

from agent import cli
from collectors.pdus.profile import (
    Column,
    Condition,
    Estimate,
    Identity,
    IdentityField,
    Limits,
    Match,
    Profile,
    Quantity,
    RuleUse,
    ScaleBy,
    Source,
    Table,
    TextProbe,
    Total,
    Totals,
)
from fleet.readings import Counting, Quality, RowKind

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "adding-a-pdu.md").read_text("utf-8")
KIOSK = ROOT / "tests" / "captures" / "pdus" / "unknown_nordlicht_kiosk4.snmprec"


def chapter(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# --- every key -------------------------------------------------------------------------------------------------------

CHAPTERS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "The file": (Profile, RuleUse),
    "`[match]`": (Match, TextProbe),
    "`[limits]`": (Limits,),
    "`[identity]`": (Identity,),
    "`[[total.power_w]]` and `[[total.energy_j]]`": (Total, Totals),
    "`[[tables]]`": (Table,),
    "Columns": (Column,),
    "Numbers": (Source, ScaleBy),
    "Conditions": (Condition,),
}


def keys(part: str) -> set[str]:
    """Every word in code marks of one part of the reference, its heading included."""
    text = re.search(rf"^### {re.escape(part)}$.*?(?=^###|\Z)", chapter("Every key"), re.MULTILINE | re.DOTALL)
    assert text is not None, part
    return {word for code in re.findall(r"`([^`]+)`", text[0]) for word in re.findall(r"[a-z_]+", code)}


def parts_of(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structures that a type holds, however deep."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from parts_of(field.type)
    for argument in get_args(kind):
        yield from parts_of(argument)


def test_every_part_of_a_profile_has_a_chapter() -> None:
    assert set(parts_of(Profile)) == {part for parts in CHAPTERS.values() for part in parts}


@pytest.mark.parametrize("title", CHAPTERS)
def test_every_key_of_a_profile_is_explained(title: str) -> None:
    for part in CHAPTERS[title]:
        inherited = {field.name for field in msgspec.structs.fields(Source)} if part is Column else set()
        wanted = {field.name for field in msgspec.structs.fields(part)} - inherited
        assert wanted <= keys(title), wanted - keys(title)


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("`[identity]`", get_args(IdentityField)),
        ("`[[tables]]`", (*RowKind, *get_args(Estimate))),
        ("Columns", (*get_args(Quantity), "fast", "slow", "bit", "csv")),
        ("Numbers", (*Counting, *set(Quality) - {Quality.MISSING}, "digits", "signed")),
        ("Conditions", ("fast", "slow")),
    ],
)
def test_every_word_that_a_key_may_be_is_explained(title: str, words: tuple[str, ...]) -> None:
    assert {str(word) for word in words} <= keys(title)


# --- without tables --------------------------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", chapter("Without tables"), re.MULTILINE | re.DOTALL)
    path = tmp_path / "nordlicht.toml"
    path.write_text(text)
    return path


def test_the_pdu_without_tables_is_read_as_the_page_says(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pdu", "test", str(profile), str(KIOSK)]) == 0
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    shown = chapter("Without tables").partition("$ hashwatt pdu test")[2].partition("```")[0].splitlines()[1:]
    lines = [" ".join(line.split()) for line in shown if line.strip() != "..."]
    assert len(lines) > 5
    for line in lines:
        assert line in out, line


def test_the_pdu_without_tables_is_read_the_same_live(
    tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its states and watts are scalars, which a walk of columns would not find."""
    (tmp_path / "pdus.d").mkdir()
    profile.rename(tmp_path / "pdus.d" / "nordlicht.toml")
    with serving(KIOSK, 4) as host:
        config = tmp_path / "hashwatt.toml"
        config.write_text(f'[site]\nname = "north"\n[[pdus]]\ntargets = ["{host}"]\n[tariff]\nusd_per_kwh = 0.06\n')
        assert cli.main(["probe", host, "--pdu", "--json", "--config", str(config)]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    outlets = [(row["id"], row["name"], row["is_on"], row["power_w"]) for row in finding["reading"]["rows"]]
    assert outlets == [
        ("1", "Kessel", True, 3261.407),
        ("2", "Ofen", True, 3210.113),
        ("3", "Tor", False, 0.0),
        ("4", "frei", False, 0.0),
    ]
    assert [row["current_a"] for row in finding["reading"]["rows"]] == [14.1, 13.9, 0.0, 0.0]
