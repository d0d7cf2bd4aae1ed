"""The corpus is as wide as it claims: every quirk, every make, no case twice."""

from __future__ import annotations

from collections import Counter

import pytest

from collectors.miners import makes
from hostile.cases import LIE, MALICE, Case, edited
from hostile.corpus import EVERYTHING, REPLIES
from hostile.machines import NAMES, machine

MIN_CASES = 400
QUIRKS = range(1, 39)


def test_it_holds_as_many_cases_as_it_must() -> None:
    assert len(EVERYTHING) >= MIN_CASES


@pytest.mark.parametrize("quirk", [*QUIRKS, LIE, MALICE])
def test_every_quirk_is_there_several_times(quirk: int) -> None:
    assert sum(case.quirk == quirk for case in EVERYTHING) >= 8


def test_no_case_belongs_to_nothing() -> None:
    assert {case.quirk for case in EVERYTHING} == {*QUIRKS, LIE, MALICE}


@pytest.mark.parametrize("key", makes.KEYS)
def test_every_make_meets_most_families_of_quirks(key: str) -> None:
    met = {case.quirk for case in EVERYTHING if machine(case.machine).key == key}
    assert len(met) >= 12
    assert sum(machine(case.machine).key == key for case in EVERYTHING) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_also_ends_in_a_fault(name: str) -> None:
    """But for those that only add a page or a half to one that does."""
    ends = Counter(case.fault is None for case in EVERYTHING if case.machine == name)
    assert ends[True]
    assert ends[False] or name in ("antminer_web", "avalon_q", "braiins_gql")


def test_no_two_cases_have_one_name() -> None:
    twice = [name for name, count in Counter(case.name for case in EVERYTHING).items() if count > 1]
    assert not twice


def test_no_two_cases_send_the_same_bytes() -> None:
    def sent(case: Case) -> tuple[str, tuple[tuple[str, bytes], ...]]:
        return case.machine, tuple(sorted(edited(case).items()))

    twice = [same for same, count in Counter(map(sent, REPLIES)).items() if count > 1]
    assert not twice
