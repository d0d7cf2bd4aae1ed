"""The roster: jobs move to the worker that speaks with a machine, and silent addresses are asked more rarely."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Config, load
from agent.plan import assignments_of, site_of
from agent.roster import SWEEP_S, Roster
from agent.wire import Job, Outcome
from collectors.miners.native import NEEDS_PYASIC
from fleet.readings import Fault, FaultKind, MinerReading

INTERVAL_S = 30.0
AT_S = 1_800_000_000.0
FIRST, SECOND = "10.1.0.1", "10.1.0.2"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "hashwatt.toml"
    (tmp_path / "hall.pw").write_text("secret\n")
    path.write_text(
        '[site]\nname = "north"\n[credentials.hall]\nuser = "admin"\npassword_file = "hall.pw"\n'
        '[[miners]]\ntargets = ["10.1.0.1-10.1.0.4"]\ncredential = "hall"\n[[pdus]]\ntargets = ["10.9.0.1"]\n'
    )
    (tmp_path / "hall.pw").chmod(0o600)
    return load(path)


@pytest.fixture
def roster(config: Config) -> Roster:
    roster = Roster(config, assignments_of(config, site_of(config, "model,hashrate_th,power_w\n")))
    assert roster.changed == set(roster.workers) == {"miners", "pyasic", "snmp"}
    roster.changed.clear()  # as after the first sending
    return roster


def fault(key: str, kind: FaultKind, detail: str = "", job: str = "auto") -> Outcome:
    return Outcome(key, job, AT_S, 1.0, 0.0, fault=Fault(kind, detail))


def answer(key: str, job: str = "auto") -> Outcome:
    return Outcome(key, job, AT_S, 0.1, 0.0, reading=MinerReading("antminer", "Antminer"))


def jobs(roster: Roster, worker: str) -> dict[str, Job]:
    return {job.key: job for job in roster.jobs(worker)}


def nobody(_: str) -> bool:
    return False


def test_a_machine_of_another_make_is_handed_over_with_its_credential_and_stays_there(roster: Roster) -> None:
    handed = fault(FIRST, FaultKind.UNSUPPORTED, f"{NEEDS_PYASIC}: whatsminer v3")
    assert roster.is_in_charge(handed)
    roster.take([handed], nobody)
    assert FIRST not in jobs(roster, "miners")
    job = jobs(roster, "pyasic")[FIRST]
    assert (job.kind, job.host, job.port, job.interval_s) == ("pyasic", FIRST, 4028, INTERVAL_S)
    assert job.options == {"user": "admin", "password": "secret"}
    assert job.deadline_s == 20.0  # pyasic asks many questions
    assert roster.changed == {"miners", "pyasic"}
    assert roster.keys() >= {FIRST, SECOND}

    # an answer of the old worker that was still on its way changes nothing and is not what we wait for
    roster.changed.clear()
    assert not roster.is_in_charge(handed)
    assert roster.is_in_charge(answer(FIRST, "pyasic"))
    roster.take([handed, answer(FIRST, "pyasic"), fault(FIRST, FaultKind.UNREACHABLE, job="pyasic")], nobody)
    assert set(jobs(roster, "pyasic")) == {FIRST}
    assert roster.changed == set()


@pytest.mark.parametrize("detail", ["", "no driver for Avalon"])
def test_an_unsupported_machine_that_pyasic_is_not_asked_for_stays(roster: Roster, detail: str) -> None:
    roster.take([fault(FIRST, FaultKind.UNSUPPORTED, detail)], nobody)
    assert FIRST in jobs(roster, "miners")
    assert roster.changed == set()


@pytest.mark.parametrize("kind", [FaultKind.UNREACHABLE, FaultKind.REFUSED])
def test_a_silent_address_is_swept_every_ten_minutes_until_somebody_is_there(roster: Roster, kind: FaultKind) -> None:
    roster.take([fault(FIRST, kind)], nobody)
    assert SWEEP_S == 600.0
    assert {key: job.interval_s for key, job in jobs(roster, "miners").items()} == {
        FIRST: 600.0, SECOND: INTERVAL_S, "10.1.0.3": INTERVAL_S, "10.1.0.4": INTERVAL_S,
    }  # fmt: skip
    assert roster.changed == {"miners"}
    roster.changed.clear()
    roster.take([fault(FIRST, kind)], nobody)
    assert roster.changed == set()  # nothing new, so nothing is sent
    roster.take([answer(FIRST)], nobody)
    assert jobs(roster, "miners")[FIRST].interval_s == INTERVAL_S
    assert roster.changed == {"miners"}


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.DENIED, FaultKind.MALFORMED])
def test_an_address_where_something_answers_is_looked_at_at_the_usual_pace(roster: Roster, kind: FaultKind) -> None:
    roster.take([fault(FIRST, FaultKind.UNREACHABLE)], nobody)
    roster.take([fault(FIRST, kind)], nobody)
    assert jobs(roster, "miners")[FIRST].interval_s == INTERVAL_S


def test_a_machine_that_falls_silent_is_still_looked_at_in_every_interval(roster: Roster) -> None:
    roster.take([fault(FIRST, FaultKind.UNREACHABLE)], lambda key: key == FIRST)
    assert jobs(roster, "miners")[FIRST].interval_s == INTERVAL_S
    assert roster.changed == set()


def test_what_belongs_to_nobody_is_not_heard(roster: Roster) -> None:
    assert not roster.is_in_charge(answer("10.7.7.7"))
    roster.take([answer("10.7.7.7"), fault("10.9.0.1", FaultKind.UNREACHABLE, job="snmp")], nobody)
    assert roster.changed == set()
    assert jobs(roster, "snmp")["10.9.0.1"].interval_s == INTERVAL_S


def test_what_a_reading_says_about_the_asking_goes_with_the_job_and_changes_nothing(roster: Roster) -> None:
    reading = MinerReading("luxos", "Antminer", way="luxos+joined")
    roster.take([Outcome(FIRST, "auto", AT_S, 0.1, 0.0, reading=reading)], nobody)
    assert jobs(roster, "miners")[FIRST].way == "luxos+joined"
    assert not roster.changed

    roster.learn({SECOND: "avalon", "10.1.0.99": "antminer+single"})
    assert jobs(roster, "miners")[SECOND].way == "avalon"
    assert not roster.changed


def test_a_make_that_asks_for_patience_is_polled_at_its_own_pace(roster: Roster) -> None:
    patient = Outcome(FIRST, "auto", AT_S, 0.1, 0.0, reading=MinerReading("axeos", "Bitaxe", pace_s=60.0))
    roster.take([patient], nobody)
    assert jobs(roster, "miners")[FIRST].interval_s == 60.0
    roster.take([fault(FIRST, FaultKind.TIMEOUT)], lambda _: True)
    assert jobs(roster, "miners")[FIRST].interval_s == 60.0
    roster.take([answer(FIRST)], nobody)
    assert jobs(roster, "miners")[FIRST].interval_s == INTERVAL_S
