"""Every hostile reply ends in the outcome that its case names: a fault, or a reading that tells no lie."""

from __future__ import annotations

import pytest
from honesty import SECRETS, assert_honest

from fleet.ports import PollError
from hostile.cases import edited, found_fields, healthy, look, outcome, wanted_fields
from hostile.corpus import REPLIES as CASES
from hostile.machines import NAMES

BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_hostile_reply_ends_as_its_case_says(name: str) -> None:
    case = BY_NAME[name]
    found = outcome(case)
    if isinstance(found, PollError):
        assert found.kind == case.fault, f"{found.kind}: {found}"
        assert str(found).isprintable()
        assert not any(secret in str(found) for secret in SECRETS)
        return
    reading, warnings = found
    assert case.fault is None, f"a reading in place of {case.fault}"
    assert_honest(reading)
    assert found_fields(reading) == wanted_fields(case)
    assert warnings == (healthy(case.machine)[1] | set(case.warnings)) - set(case.without)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_deep_look_at_it_is_honest_too(name: str) -> None:
    case = BY_NAME[name]
    try:
        reading, _ = look(case.machine, edited(case), is_deep=True)
    except PollError:
        assert case.fault is not None
        return
    assert_honest(reading)
    if case.boards is not None:
        assert tuple(board.id for board in reading.boards) == case.boards


@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_machine_is_honest_and_read_whole(name: str) -> None:
    reading, _ = healthy(name)
    assert_honest(reading)
    assert reading.hashrate_now_hs is not None
    assert reading.pool_host is not None
    assert reading.uptime_s is not None
