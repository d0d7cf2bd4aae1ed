"""Meters that are wrong, from their reading to the advice: what they say never stops a machine that nobody else would.

Every machine here earns money by its own word and by its nameplate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.journal import Journal
from agent.table import Table
from agent.wire import Outcome
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import Market, MarketInput, Quote
from fleet.readings import (
    CapableSource,
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    PduReading,
    PduRow,
    PowerSource,
    Quality,
    RowKind,
)
from fleet.signals import Signals
from fleet.site import Site, parse_inventory, parse_nameplates
from fleet.snapshot import MeterDoubt, PduDoubt
from fleet.tariff import FlatTariff

AT_S = 1_800_000_000.0
P, Q = "10.9.0.1", "10.9.0.2"
A, B = "10.0.0.1", "10.0.0.2"
PLATES = parse_nameplates("model,hashrate_th,power_w\nS21,200,3500\n")
MARKET = {
    MarketInput.DIFFICULTY: 1.4e14,
    MarketInput.HEIGHT: 935_140.0,
    MarketInput.BLOCK_FEES_BTC: 0.02,
    MarketInput.BTC_USD: 70_000.0,
}
"""An S21 earns 26 cents an hour, and its 3.5 kW at 5 cents cost 18."""

Round = Callable[[int, float], Sequence[Outcome]]


def miner(key: str, at_s: float, **said: Any) -> Outcome:
    values: dict[str, Any] = {
        "driver": "antminer", "make": "Antminer", "model": "S21", "algorithm": "sha256", "state": OperatingState.MINING,
        "hashrate_hs": 2e14, "hashrate_now_hs": 2e14, "reported_power_w": 3500.0, "power_side": "ac", "firmware": "1",
    }  # fmt: skip
    return Outcome(key, "auto", at_s, 0.1, 0.0, reading=MinerReading(**(values | said)))


def silence(key: str, at_s: float, kind: str = "auto") -> Outcome:
    return Outcome(key, kind, at_s, 0.1, 0.0, fault=Fault(FaultKind.TIMEOUT))


def pdu(at_s: float, *watts: float | None, key: str = P, names: Sequence[str | None] = (), **said: Any) -> Outcome:
    """A PDU with an outlet for each number, in steps of 1 W."""
    rows = tuple(
        PduRow(
            RowKind.OUTLET, str(number), names[number - 1] if names else None,
            power_w=w, power_quality=Quality.MEASURED, power_resolution_w=1.0, is_on=True,
        )
        for number, w in enumerate(watts, start=1)
    )  # fmt: skip
    return Outcome(key, "snmp", at_s, 0.2, 0.0, pdu=PduReading("apc_rpdu2", rows=rows, **said))


class Farm:
    """The agent's table, thought about after every round of half a minute."""

    def __init__(self, *lines: str, header: str = "id,address,model,pdu,outlet,share") -> None:
        machines = parse_inventory("\n".join((header, *lines)))
        self.table = Table(Site("n", machines, PLATES, tariff=FlatTariff(0.05)), (P, Q), 30.0)
        self.memory, self.now_s, self.turns = Memory(), AT_S, 0

    def rounds(self, count: int, outcomes: Round, step_s: float = 30.0) -> Cycle:
        """The cycle of the last round; a round is told its number and its time."""
        for number in range(count):
            self.now_s += step_s
            self.table.take(outcomes(number, self.now_s))
            snapshot = self.table.freeze(self.now_s)
            quotes = tuple(Quote(input, "fixed", value, self.now_s, 9e9, 9e9) for input, value in MARKET.items())
            policy = Policy(quorum_ratio=0.0, stop_ramp_ratio=1.0, min_up_s=0.0)
            signals = Signals(AT_S - 9999.0, 60.0, is_clock_trusted=True, is_storage_ok=True)
            cycle = think(self.table.site, snapshot, Market(quotes), signals, policy, self.memory, self.now_s)
            self.memory = cycle.memory
            self.turns += int(cycle.decision.changed.sum())
        return cycle


def test_a_meter_that_shows_ten_times_as_much_stops_nobody_and_leaves_nothing_behind() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    good = farm.rounds(20, lambda _, t: [miner(A, t), pdu(t, 3600.0)])
    assert good.snapshot.power_source[0] == PowerSource.METERED
    bad = farm.rounds(120, lambda _, t: [miner(A, t), pdu(t, 36_000.0)])
    assert bad.snapshot.meter_doubt[0] & MeterDoubt.EXCESS
    assert bad.snapshot.metered_power_w[0] == 36_000.0  # told, and not used
    assert bad.snapshot.power_source[0] == PowerSource.CALIBRATED
    assert bad.snapshot.power_w[0] == pytest.approx(3600.0)
    assert bad.snapshot.power_if_running_w[0] == pytest.approx(3600.0)
    assert bad.snapshot.calibration_ratio[0] == pytest.approx(3600 / 3500)
    back = farm.rounds(2, lambda _, t: [miner(A, t), pdu(t, 3600.0)])
    assert back.snapshot.power_source[0] == PowerSource.METERED
    assert not back.snapshot.meter_doubt[0] & MeterDoubt.EXCESS
    assert bool(back.snapshot.is_running[0])
    assert farm.turns == 0


def test_a_meter_that_feeds_two_machines_is_not_that_of_one() -> None:
    farm = Farm(f"a,{A},S21,{P},1,", f"b,{B},S21,,,")
    cycle = farm.rounds(120, lambda _, t: [miner(A, t), miner(B, t), pdu(t, 7200.0)])
    assert cycle.snapshot.meter_doubt[0] & MeterDoubt.EXCESS
    assert cycle.snapshot.power_w.tolist() == [3500.0, 3500.0]  # by their own word, and nothing was learned
    assert farm.turns == 0


@pytest.mark.parametrize(("said", "is_excess"), [(5250.0 + 2.0, False), (5250.0 + 2.1, True)])
def test_what_a_meter_may_show_is_half_as_much_again_and_two_of_its_steps(said: float, is_excess: bool) -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    cycle = farm.rounds(1, lambda _, t: [miner(A, t), pdu(t, said)])
    assert bool(cycle.snapshot.meter_doubt[0] & MeterDoubt.EXCESS) == is_excess


def test_an_overclocked_machine_keeps_its_meter_by_its_own_word() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    cycle = farm.rounds(1, lambda _, t: [miner(A, t, reported_power_w=5200.0, hashrate_hs=2.5e14), pdu(t, 5600.0)])
    assert cycle.snapshot.power_source[0] == PowerSource.METERED


def test_a_machine_of_which_nobody_says_anything_keeps_its_meter() -> None:
    farm = Farm(f"a,{A},,{P},1,")
    cycle = farm.rounds(1, lambda _, t: [miner(A, t, model="new", reported_power_w=None), pdu(t, 9000.0)])
    assert cycle.snapshot.power_source[0] == PowerSource.METERED
    assert not cycle.snapshot.meter_doubt[0]


@pytest.mark.parametrize("share", ["0.5", "nameplate"])
@pytest.mark.parametrize(
    ("said", "watts"),
    [({"state": OperatingState.WARMING_UP, "reported_power_w": None}, 7000.0), ({"hashrate_hs": 9e15}, 7200.0)],
)
def test_what_the_other_on_its_meter_draws_while_it_tunes_or_lies_is_not_charged_to_a_machine(
    share: str, said: dict[str, Any], watts: float
) -> None:
    farm = Farm(f"a,{A},S21,{P},1,{share}", f"b,{B},S21,{P},1,{share}")
    cycle = farm.rounds(120, lambda _, t: [miner(A, t, **said), miner(B, t), pdu(t, watts)])
    assert cycle.economics.power_w[1] == pytest.approx(3500.0, rel=0.05)
    assert farm.turns == 0


def test_a_shared_meter_that_shows_too_much_is_nobodys() -> None:
    farm = Farm(f"a,{A},S21,{P},1,0.5", f"b,{B},S21,{P},1,0.5")
    cycle = farm.rounds(120, lambda _, t: [miner(A, t), miner(B, t), pdu(t, 36_000.0)])
    assert (cycle.snapshot.meter_doubt & MeterDoubt.EXCESS > 0).all()
    assert cycle.snapshot.power_source.tolist() == [PowerSource.REPORTED] * 2
    assert farm.turns == 0


def test_one_machine_in_the_wrong_line_does_not_teach_its_model() -> None:
    # it hangs beside a machine of 4.9 kW; the farm has a hundred like it without a meter
    others = [f"10.1.0.{number}" for number in range(100)]
    farm = Farm(f"a,{A},S21,{P},1,", *(f"u{key},{key},S21,,," for key in others))
    cycle = farm.rounds(120, lambda _, t: [miner(A, t), *(miner(key, t) for key in others), pdu(t, 4900.0)])
    assert cycle.snapshot.meter_doubt[0] & MeterDoubt.RATIO
    assert set(cycle.snapshot.power_source[1:]) == {PowerSource.REPORTED}
    assert (cycle.snapshot.power_w[1:] == 3500.0).all()
    assert farm.turns == 0


def test_a_frozen_pdu_meters_nothing_until_it_changes() -> None:
    farm = Farm(f"a,{A},S21,{P},1,", f"b,{B},S21,{P},2,")
    farm.rounds(20, lambda n, t: [miner(A, t), miner(B, t), pdu(t, 3600.0 + n, 3600.0)])
    # both go to a mode of less power; the PDU does not hear of it
    low = {"hashrate_hs": 1.7e14, "hashrate_now_hs": 1.7e14}

    def frozen(number: int, at_s: float) -> list[Outcome]:
        watts = 3500.0 if number < 30 else 2600.0
        return [*(miner(key, at_s, **low, reported_power_w=watts) for key in (A, B)), pdu(at_s, 3619.0, 3600.0)]

    cycle = farm.rounds(121, frozen)
    assert cycle.snapshot.pdus.doubt[0] & PduDoubt.FROZEN
    assert np.isnan(cycle.snapshot.metered_power_w).all()
    np.testing.assert_allclose(cycle.snapshot.power_w, 2600.0 * 3600 / 3500, rtol=0.02)
    # that one of them goes quiet makes the PDU no better
    cycle = farm.rounds(3, lambda _, t: [silence(A, t), *frozen(99, t)[1:]])
    assert cycle.snapshot.pdus.doubt[0] & PduDoubt.FROZEN
    assert np.isnan(cycle.snapshot.metered_power_w).all()
    cycle = farm.rounds(1, lambda _, t: [miner(A, t), miner(B, t), pdu(t, 2675.0, 2674.0)])
    assert cycle.snapshot.metered_power_w.tolist() == [2675.0, 2674.0]


def test_a_pdu_that_has_no_watts_to_tell_is_not_frozen() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    cycle = farm.rounds(140, lambda n, t: [miner(A, t, reported_power_w=3500.0 if n < 60 else 2600.0), pdu(t, None)])
    assert not cycle.snapshot.pdus.doubt[0] & PduDoubt.FROZEN


def test_one_pdu_at_two_addresses_does_not_double_a_machine() -> None:
    farm = Farm(f"mach-a,{A},S21,,,")
    twins = [(P, {"serial": "S1"}), (Q, {"serial": "S1"})]
    cycle = farm.rounds(
        2, lambda _, t: [miner(A, t), *(pdu(t, 1800.0, key=k, names=["mach-a"], **s) for k, s in twins)]
    )
    assert cycle.snapshot.meter_doubt[0] == MeterDoubt.CONTESTED
    assert math.isnan(cycle.snapshot.metered_power_w[0])
    # two PDUs are two cords
    farm = Farm(f"mach-a,{A},S21,,,")
    pair = [(P, {"serial": "S1"}), (Q, {"serial": "S2"})]
    cycle = farm.rounds(2, lambda _, t: [miner(A, t), *(pdu(t, 1800.0, key=k, names=["mach-a"], **s) for k, s in pair)])
    assert cycle.snapshot.metered_power_w[0] == 3600.0


def test_one_cord_of_two_is_not_all_while_the_other_pdu_has_not_answered_since_a_restart(tmp_path: Path) -> None:
    farm = Farm(f"mach-a,{A},S21,,,")
    cords = [(P, 1700.0, "mach-a"), (Q, 1800.0, "mach-a right")]
    farm.rounds(2, lambda _, t: [miner(A, t), *(pdu(t, 5.0, w, key=k, names=[None, name]) for k, w, name in cords)])
    with closing(Journal.open(tmp_path / "j.db")) as journal:
        journal.save_accumulators(farm.table.site.ids, {}, (), {}, farm.table.remembered_pdus())
        slow = journal.load_accumulators()
    assert slow is not None
    again = Farm(f"mach-a,{A},S21,,,")
    again.table.recall(slow.ids, slow.columns, slow.found, slow.texts, slow.pdus)
    (key, watts, name), (other_key, other_watts, other_name) = cords
    cycle = again.rounds(3, lambda _, t: [
        miner(A, t), pdu(t, 5.0, watts, key=key, names=[None, name]), silence(other_key, t, "snmp")
    ])  # fmt: skip
    assert math.isnan(cycle.snapshot.metered_power_w[0])
    assert again.table.remembered_pdus() == slow.pdus  # and after another restart it is known still
    cycle = again.rounds(
        1, lambda _, t: [miner(A, t), pdu(t, 5.0, other_watts, key=other_key, names=[None, other_name])]
    )
    assert cycle.snapshot.metered_power_w[0] == 3500.0


def test_a_clock_that_is_set_back_makes_no_old_value_new() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    good = farm.rounds(3, lambda _, t: [miner(A, t), pdu(t, 3600.0, power_w=3700.0)])
    assert good.snapshot.pdus.power_w[0] == 3700.0
    farm.now_s -= 3600.0
    cycle = farm.rounds(1, lambda _, t: [miner(A, t), silence(P, t, "snmp")])
    assert math.isnan(cycle.snapshot.metered_power_w[0])
    assert math.isnan(cycle.snapshot.pdus.power_w[0])
    assert cycle.snapshot.power_w[0] == 3500.0
    # what is learned goes on from here
    seen = farm.table.observed.ratio_samples[0, 0]
    farm.rounds(1, lambda _, t: [miner(A, t), pdu(t, 3600.0, power_w=3700.0)])
    assert farm.table.observed.ratio_samples[0, 0] == seen + 1
    # and so does the time for which a PDU has told the same
    still = farm.rounds(1, lambda _, t: [pdu(t, 3600.0, power_w=3700.0)])
    assert still.snapshot.pdus.changed_s[0] == farm.now_s - 30.0


def test_another_firmware_version_is_another_opinion_also_after_a_restart() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    farm.rounds(40, lambda _, t: [miner(A, t, reported_power_w=3200.0), pdu(t, 3600.0)])
    again = Farm(f"a,{A},S21,{P},1,")
    again.table.recall(("a",), farm.table.remembered())
    # a look at which it says no watts is no other opinion
    again.rounds(1, lambda _, t: [miner(A, t, reported_power_w=None, power_side=None)])
    cycle = again.rounds(2, lambda _, t: [miner(A, t, reported_power_w=3200.0)])
    assert cycle.snapshot.power_w[0] == pytest.approx(3600.0)
    # the new version has put its number right; the old ratio would make it 4050 W
    updated_while_nobody_looked = Farm(f"a,{A},S21,{P},1,")
    updated_while_nobody_looked.table.recall(("a",), farm.table.remembered())
    for late in (again, updated_while_nobody_looked):
        cycle = late.rounds(1, lambda _, t: [miner(A, t, reported_power_w=3600.0, firmware="2")])
        assert cycle.snapshot.power_source[0] == PowerSource.REPORTED
        assert cycle.snapshot.power_w[0] == 3600.0


@pytest.mark.parametrize(
    ("said", "watts", "minutes", "is_doubted"),
    [
        ({"state": OperatingState.SLEEPING}, 60.0, 60, False),  # its fans go on
        ({"state": OperatingState.SLEEPING}, 3000.0, 11, True),  # it does not sleep
        ({"state": OperatingState.IDLE}, 60.0, 11, True),
        ({"state": OperatingState.WARMING_UP}, 3000.0, 25, False),  # it tunes
        ({"state": OperatingState.WARMING_UP}, 3000.0, 31, True),
    ],
)
def test_power_without_hash_is_what_nobody_has_explained(
    said: dict[str, Any], watts: float, minutes: int, is_doubted: bool
) -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    said = {"hashrate_hs": 0.0, "hashrate_now_hs": 0.0, "reported_power_w": None} | said
    cycle = farm.rounds(2 * minutes, lambda _, t: [miner(A, t, **said), pdu(t, watts)])
    assert bool(cycle.snapshot.meter_doubt[0] & MeterDoubt.POWER_WITHOUT_HASH) == is_doubted


def test_a_silent_machine_that_draws_full_power_is_told_about_and_never_stopped() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    cycle = farm.rounds(120, lambda n, t: [miner(A, t) if n < 5 else silence(A, t), pdu(t, 3600.0)])
    assert cycle.snapshot.meter_doubt[0] == MeterDoubt.POWER_WITHOUT_HASH
    assert math.isnan(cycle.economics.margin_usd_h[0])
    assert farm.turns == 0


def test_a_meter_without_a_minus_sign_is_the_only_one_that_counts() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    cycle = farm.rounds(1, lambda _, t: [miner(A, t), pdu(t, -5.0)])
    assert cycle.snapshot.power_source[0] == PowerSource.REPORTED
    assert bool(cycle.snapshot.is_running[0])


def test_the_energy_of_another_pdu_is_not_added_when_its_first_look_says_none() -> None:
    farm = Farm()
    farm.rounds(1, lambda _, t: [pdu(t, 1.0, energy_j=1e9, serial="A")])
    farm.rounds(1, lambda _, t: [pdu(t, 1.0, serial="B")])
    farm.rounds(1, lambda _, t: [pdu(t, 1.0, energy_j=1e9 + 5e6, serial="B")])
    cycle = farm.rounds(1, lambda _, t: [pdu(t, 1.0, energy_j=1e9 + 6e6, serial="B")])
    assert cycle.snapshot.pdus.energy_j[0] == 1e9 + 1e6
    # nor after a restart, though both have counted about as much
    again = Farm()
    again.table.recall((), {}, pdus=farm.table.remembered_pdus())
    again.now_s = farm.now_s
    cycle = again.rounds(1, lambda _, t: [pdu(t, 1.0, energy_j=1e9 + 7e6, serial="C")])
    assert cycle.snapshot.pdus.energy_j[0] == 1e9 + 1e6


def test_watts_that_a_machine_is_remembered_by_are_not_those_of_a_wrong_meter() -> None:
    farm = Farm(f"a,{A},S21,{P},1,")
    farm.rounds(5, lambda _, t: [miner(A, t), pdu(t, 36_000.0)])
    off = {"state": OperatingState.SLEEPING, "hashrate_hs": 0.0, "hashrate_now_hs": 0.0}
    cycle = farm.rounds(1, lambda _, t: [miner(A, t, **off), pdu(t, 25.0)])
    assert cycle.snapshot.power_if_running_w[0] == 3500.0
    assert cycle.snapshot.power_if_running_source[0] == CapableSource.STEADY
