"""No file of the repository holds what a recording of the LibreNMS project says: their licence (GPL-3.0) is not ours.

Two nets over every file that is committed or could be next. The first looks for the texts of the recordings wherever
they stand: a serial number, a customer's name for an outlet. The second looks for the lines of saved walks and compares
the value at each OID with the recordings', for a measured number is no text that one could search for. What a maker
prints into every unit is a fact, as is a sentinel; each is listed with its reason, and one that nothing needs fails.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHORT_TEXT = 8
"""Characters. Shorter texts ("L1", "Feed A") stand in any file by accident."""
NUMBERED = 5
"""Digits that make a word a number of one unit or build, even where it stands within a longer text."""
WORTH_TEXT, WORTH_NUMBER = 4, 100
"""Of a value at the same OID. What is shorter or smaller (an index, an enum, a scale) every unit of the family says."""

MAKERS_TEXTS = {
    r"APC (SNMP Agent|MasterSwitch PDU)|Enlogic PDU|Epicenter SNMP|Schleifenbauer|Sentry Switched CDU|Switched PDU"
    r"|CPS Power Distributed Unit|Aten": "a product's description in sysDescr, by which it is recognised",
    r"(Phase L\d|Total|Sockets|Input|Login)\.[\w .]+|PDU-Controller": "Rittal's names of its variables and devices",
    r"Neutral Current": "Rittal's word for a row",
    r"(Temp|Humid)_Sensor_[AB]\d|[AB]A:L\d(-L\d(-BR\d)?)?": "Server Technology's names of sensors, lines, branches",
    r"(Outlet|Socket|Circuit|Load|Line|Feed) (L\d-)?[A-C]{0,2}\d{0,2}|PEM: 1-1": "a part that nobody gave a name",
    r"Main Input|Q3 Bypass": "breakers of an InfraStruXure cabinet",
    r"not-?support(ed)?": "what stands in place of a value that is not there",
    r"/settings": "a page that machines of many makers have",
}
SENTINELS = {-410: "Sentry: no temperature", 9999: "Vertiv DCS: no value", -100: "Rittal: a scale of hundredths"}

SAVED_LINE = re.compile(r"(?<![\w.])(\.?1(?:\.\d+){6,})\|(\d{1,2}x?)\|([^\r\n]*)")
"""`OID|tag|value`, also within the quotes of a program."""


def is_makers(text: str) -> bool:
    return any(re.fullmatch(pattern, text) for pattern in MAKERS_TEXTS)


def lines_of(walk: str) -> Iterator[tuple[str, str, str]]:
    """OID, tag and value of every line of a saved walk."""
    for line in walk.splitlines():
        parts = line.split("|", 2)
        if len(parts) == 3:
            yield parts[0], parts[1], parts[2]


def is_telling(text: str) -> bool:
    """Whether a text is long enough to be no accident, and more than a row of zeros or dots."""
    return len(text) > SHORT_TEXT and len(set(text)) > 2


def texts_of(walks: Iterable[str]) -> set[str]:
    """The texts of walks that are long enough to be looked for, octets in hexadecimal too; of a description that tells
    a serial number or a build within it, these as well."""
    found = set()
    for walk in walks:
        for _, tag, value in lines_of(walk):
            if tag == "4x" and re.fullmatch(r"([0-9A-Fa-f]{2})+", value):
                value = bytes.fromhex(value).decode("utf-8", "replace")
            if tag.startswith("4"):
                numbered = (word for word in re.findall(r"[\w./-]+", value) if sum(map(str.isdigit, word)) >= NUMBERED)
                found |= {text for text in (value.strip(" \0"), *numbered) if is_telling(text)}
    return found


def copied_texts(walks: Iterable[str], files: Mapping[str, str]) -> dict[str, list[str]]:
    """Text of a recording -> the files that hold it."""
    octets = {name: text.encode() for name, text in files.items()}
    everything = b"\0".join(octets.values())
    copied = [text for text in texts_of(walks) if text.encode() in everything]
    return {text: [name for name, content in octets.items() if text.encode() in content] for text in copied}


def is_worth(tag: str, value: str) -> bool:
    """Whether a value says something of one unit, and not of every unit of its family."""
    if tag == "6":
        return False  # identities are given by makers
    try:
        return abs(float(value)) >= WORTH_NUMBER
    except ValueError:
        return len(value) >= WORTH_TEXT


def copied_values(walks: Iterable[str], files: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """File, OID and value of every line of a saved walk, anywhere, that says what a recording says at this OID."""
    recorded = {(oid, value.strip()) for walk in walks for oid, tag, value in lines_of(walk) if is_worth(tag, value)}
    return {
        (name, oid, value)
        for name, text in files.items()
        if "|" in text
        for oid, _, said in SAVED_LINE.findall(text)
        for value in {said.strip(), re.split(r"[\"'\\]", said)[0].strip()}
        if (oid, value) in recorded
    }


def cannot_compare(why: str) -> NoReturn:
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(f"REQUIRE_PEERS=1 and {why}", pytrace=False)
    pytest.skip(why)


@cache
def recordings() -> tuple[str, ...]:
    folder = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent / "shared" / "captures") / "pdus"
    found = tuple(path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.snmprec")))
    if not found:
        cannot_compare(f"no recorded PDUs at {folder}: name the folder above it in HASHWATT_CAPTURES")
    return found


@cache
def repository() -> dict[str, str]:
    """Text of every file that is committed or could be by the next command."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cannot_compare(f"git lists no files of {ROOT}")
    paths = {ROOT / name for name in done.stdout.split("\0") if name}
    return {str(path.relative_to(ROOT)): path.read_text("utf-8", "replace") for path in paths if path.is_file()}


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    return copied_texts(recordings(), repository())


@pytest.fixture(scope="module")
def values() -> set[tuple[str, str, str]]:
    return copied_values(recordings(), repository())


def test_no_text_of_a_recording_stands_in_the_repository(texts: dict[str, list[str]]) -> None:
    assert {text: names for text, names in texts.items() if not is_makers(text)} == {}


def test_no_saved_line_says_what_a_recording_says_at_the_same_oid(values: set[tuple[str, str, str]]) -> None:
    listed = {str(sentinel) for sentinel in SENTINELS}
    assert {line for line in values if line[2] not in listed and not is_makers(line[2])} == set()


def test_nothing_is_listed_that_nothing_needs(texts: dict[str, list[str]], values: set[tuple[str, str, str]]) -> None:
    said = {value for _, _, value in values}
    needed = texts.keys() | said
    assert [pattern for pattern in MAKERS_TEXTS if not any(re.fullmatch(pattern, text) for text in needed)] == []
    assert {str(sentinel) for sentinel in SENTINELS} <= said


WALK = """1.3.6.1.4.1.99999.1.1.0|4|cellar of Mrs. Example
1.3.6.1.4.1.99999.1.2.0|4x|53594e2d3939393931
1.3.6.1.4.1.99999.1.3.0|4|rack
1.3.6.1.4.1.99999.1.4.0|2|4711
1.3.6.1.4.1.99999.1.5.0|66|7
1.3.6.1.4.1.99999.1.6.0|6|1.3.6.1.4.1.99999.7
1.3.6.1.4.1.99999.1.7.0|4|Powerbar SN: PB-2001234 (second edition)
"""


@pytest.mark.parametrize(
    ("file", "its_texts", "its_values"),
    [
        ('assert name == "cellar of Mrs. Example"', {"cellar of Mrs. Example"}, set()),
        ("serial SYN-99991", {"SYN-99991"}, set()),  # from its octets
        ("the unit PB-2001234", {"PB-2001234"}, set()),
        ("a rack with 4711 machines", set(), set()),
        ("1.3.6.1.4.1.99999.1.4.0|2|4711\n", set(), {"4711"}),
        ('walk = "1.3.6.1.4.1.99999.1.4.0|66|4711\\n"', set(), {"4711"}),  # in a program, with another type
        ("1.3.6.1.4.1.99999.1.3.0|4|rack\r\n", set(), {"rack"}),
        ("1.3.6.1.4.1.99999.1.4.0|2|4712\n1.3.6.1.4.1.99999.1.4.1|2|4711\n", set(), set()),
        ("1.3.6.1.4.1.99999.1.5.0|66|7\n1.3.6.1.4.1.99999.1.6.0|6|1.3.6.1.4.1.99999.7\n", set(), set()),
    ],
)
def test_what_is_a_copy(file: str, its_texts: set[str], its_values: set[str]) -> None:
    assert copied_texts([WALK], {"notes": file}).keys() == its_texts
    assert {value for _, _, value in copied_values([WALK], {"notes": file})} == its_values
