"""The page of PDUs is true: written from the profiles, with evidence that is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

from collectors.pdus.device import replay
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmprec import load_walk
from hil import pdu_families

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
RECORDED = tomllib.loads((pdu_families.WALKS / "recorded.toml").read_text("utf-8"))["profiles"]


def test_the_page_of_pdus_is_current() -> None:
    assert (DOCS / "pdus.md").read_text("utf-8") == pdu_families.markdown(), (
        "write it anew: python -m hil.pdu_families > docs/pdus.md"
    )


def test_every_family_is_on_it_once() -> None:
    page = pdu_families.markdown()
    for profile in packaged_profiles():
        assert page.count(f"### `{profile.id}`: ") == 1
        assert page.count(f"| `{profile.id}` | ") == 1


def test_no_family_rests_on_nothing_but_its_name() -> None:
    """A title, and a recording, an invented unit, or a word that it is known only."""
    page = pdu_families.markdown()
    for profile in packaged_profiles():
        told = page.partition(f"### `{profile.id}`: ")[2].partition("\n### ")[0]
        assert "untitled" not in told, profile.id
        if profile.tables:
            assert "invented `synthetic_" in told, profile.id
        else:
            assert "its tables are not known" in told, profile.id


def test_the_list_of_recordings_is_what_the_recordings_are(captures_dir: Path) -> None:
    """Who is taken for whom, where the recordings are at hand; none of them is left out."""
    taken = {
        path.stem: replay(load_walk(path)).recognition.profile.id for path in (captures_dir / "pdus").glob("*.snmprec")
    }
    listed = {
        name: profile for profile, told in RECORDED.items() for names in told.values() for name in names
    }  # fmt: skip
    assert taken == listed


def test_what_the_page_says_of_one_family_by_hand() -> None:
    """The rPDU2, as its makers and owners describe it: 10 W steps of the unit, 0.1 A, 0.1 kWh."""
    page = pdu_families.markdown()
    told = page.partition("### `apc_rpdu2`: ")[2].partition("\n### ")[0]
    assert "Known by sysObjectID `318.1.3.4.6`, `318.1.3.4.8`" in told
    assert "- **unit**: power (steps of 10 W" in told
    assert "energy (100 Wh, resettable)" in told
    assert "current (steps of 0.1 A)" in told
    assert "recorded `apc_ap7900b`, `apc_ap8853`, `apc_ap8959eu3`" in told
