"""The words of the domain and their numbers. Every journal holds these numbers: new ones join, none moves."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from fleet.curtailment import Action, Why
from fleet.lease import Issue
from fleet.ports import PollError
from fleet.readings import FAULT_CODES, FAULT_KINDS, CapableSource, Fault, FaultKind, PowerSource, Reason
from fleet.snapshot import STATE_CODES, STATES
from fleet.units import BLOCK_INTERVAL_S, HASHES_PER_DIFFICULTY_1, JOULES_PER_KWH, PETA, TERA


def test_fault_codes_and_kinds_are_inverse_and_zero_is_no_fault() -> None:
    assert FAULT_KINDS[0] is None
    assert [FAULT_CODES[kind] for kind in FAULT_KINDS] == list(range(len(FaultKind) + 1))


def test_state_codes_and_states_are_inverse() -> None:
    assert [STATE_CODES[state] for state in STATES] == list(range(len(STATES)))


def test_the_numbers_in_old_journals_keep_their_meaning() -> None:
    assert " ".join(str(kind) for kind in FAULT_KINDS[1:]) == (
        "refused unreachable timeout denied malformed oversize unsupported identity"
    )
    assert " ".join(STATES) == "mining warming_up sleeping idle faulted unknown unreachable"
    assert " ".join(Reason.__members__) == (
        "NONE NEVER_SEEN UNREACHABLE STALE NOT_REPORTED IMPLAUSIBLE NOT_SHA256 WRONG_POOL NO_MARKET NO_POWER "
        "NO_HASHRATE CONFLICT NO_POWER_PRICE"
    )
    assert " ".join(PowerSource.__members__) == ("NONE METERED CALIBRATED REPORTED CONFIGURED NAMEPLATE SHARED")
    assert " ".join(CapableSource.__members__) == "NONE STEADY MODEL_MEAN CONFIGURED NAMEPLATE"
    assert " ".join(Action.__members__) == "RUN STOP PRESET HOLD"
    for numbers in (Reason, PowerSource, CapableSource, Action):
        assert [int(member) for member in numbers] == list(range(len(numbers)))
    assert [int(why) for why in Why] == [1 << bit for bit in range(26)]
    assert " ".join(str(why.name) for why in Why) == (
        "MARGIN_NEGATIVE MARGIN_RESTORED HYSTERESIS_HOLD MIN_UP MIN_DOWN RAMP QUORUM NEVER_STOP UNREACHABLE NEVER_SEEN "
        "NOT_SHA256 WRONG_POOL NO_POWER NO_HASHRATE INPUT_STALE INPUT_MISSING INPUT_CONFLICT HOLD_RELEASE BOOT CLOCK "
        "STORAGE OPERATOR CONFLICT IMPLAUSIBLE POWER_PRICE INPUT_UNCERTAIN"
    )


@pytest.mark.parametrize(("detail", "text"), [("", "timeout"), ("no answer in 5 s", "timeout: no answer in 5 s")])
def test_a_failed_look_says_what_happened_and_becomes_a_fault(detail: str, text: str) -> None:
    error = PollError(FaultKind.TIMEOUT, detail)
    assert str(error) == text
    assert error.as_fault() == Fault(FaultKind.TIMEOUT, detail)


def test_an_issued_lease_is_what_it_is() -> None:
    issue = Issue("boot", 7, 100.0, 220.0)
    assert issue == Issue("boot", 7, 100.0, 220.0, "hashwatt")
    with pytest.raises(FrozenInstanceError):
        issue.seq = 8  # type: ignore[misc]


def test_units_agree_with_the_outside() -> None:
    assert HASHES_PER_DIFFICULTY_1 == 2**32
    assert JOULES_PER_KWH == 1000 * 3600
    assert PETA / TERA == 1000
    # difficulty 141.668e12 stands for 1014.1 EH/s, as a node's difficulty of January 2026 implies
    hashes_per_s = 141.668e12 * HASHES_PER_DIFFICULTY_1 / BLOCK_INTERVAL_S
    assert hashes_per_s == pytest.approx(1014.1e18, rel=1e-4)
