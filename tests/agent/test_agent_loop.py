"""The tick over hours that take milliseconds: times are arguments, and readings and quotes are made by hand.

Four S19j Pro of 104 TH/s and 3068 W. At difficulty 141.67e12 and 3.145 BTC a block, 70,000 USD are 31.3 USD/PH/day, so
each earns 31.3 / 24 * 0.104 * 0.99 * 0.996 = 0.134 USD/h; at 30,000 USD it is 0.057. Power costs 3.068 * 1.05 * 0.03 =
0.097 USD/h. So GOOD_USD is a gain and BAD_USD a loss for all of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.journal import Journal, JournalError
from agent.loop import Loop
from agent.table import Table
from agent.vitals import Vitals
from agent.wire import Outcome
from exporters.prometheus import render_family
from fleet.curtailment import Action, Policy, Status, Why
from fleet.cycle import Cycle
from fleet.market import HARD_AGE_S, SOFT_AGE_S, MarketInput, Quote
from fleet.readings import Fault, FaultKind, MinerReading, OperatingState
from fleet.site import Machine, Site
from fleet.tariff import FlatTariff

T0_S = 1_800_000_000.0
INTERVAL_S = 30.0
GOOD_USD, BAD_USD = 70_000.0, 30_000.0
POLICY = Policy(
    stop_start_cost_usd=1e-6, min_up_s=0.0, min_down_s=0.0, stop_ramp_ratio=1.0, stop_ramp_s=1.0,
    start_ramp_ratio=1.0, start_ramp_s=1.0,
)  # fmt: skip
STOP, RUN, HOLD = [Action.STOP], [Action.RUN], [Action.HOLD]


class Story:
    """A loop with a table, driven by hand. `clock_s` runs evenly; the wall clock is what each tick is told."""

    def __init__(
        self,
        journal: Journal | None = None,
        sinks: Any = (),
        machines: int = 4,
        policy: Policy = POLICY,
        has_inventory: bool = True,
    ):
        addresses = [f"10.0.{i // 250}.{i % 250 + 1}" for i in range(machines)]
        site = Site(
            "north",
            tuple(Machine(f"m{i}", address=address) for i, address in enumerate(addresses)) if has_inventory else (),
            tariff=FlatTariff(0.03),
        )
        self.vitals = Vitals()
        self.table = Table(site, (), INTERVAL_S)
        self.loop = Loop(
            self.table, policy, journal, dict(sinks), self.vitals, booted_s=T0_S, settle_s=2 * INTERVAL_S
        )  # fmt: skip
        self.at_s = T0_S
        self.btc_usd: float | None = GOOD_USD
        self.watts = dict.fromkeys(addresses, 3068.0)
        self.silent: set[str] = set()
        self.ahead_s = 0.0  # how far the wall clock is ahead of what it should be

    def step(self, seconds: float = INTERVAL_S) -> Cycle:
        """`seconds` later every machine and feed is looked at, and the loop ticks."""
        self.at_s += seconds
        wall_s = self.at_s + self.ahead_s
        self.table.take([self._look(address, watts, wall_s) for address, watts in self.watts.items()])
        if self.btc_usd is not None:
            self.loop.take_quotes([Outcome("feed", "mempool", wall_s, 0.0, 0.0, quotes=quotes(self.btc_usd, wall_s))])
        return self.loop.tick(wall_s, self.at_s - T0_S)

    def _look(self, address: str, watts: float, wall_s: float) -> Outcome:
        if address in self.silent:
            return Outcome(address, "antminer", wall_s, 1.0, 0.0, fault=Fault(FaultKind.UNREACHABLE))
        reading = MinerReading(
            driver="antminer", make="Antminer", model="Antminer S19j Pro", algorithm="sha256",
            state=OperatingState.MINING, hashrate_hs=104e12, hashrate_now_hs=104e12, reported_power_w=watts,
        )  # fmt: skip
        return Outcome(address, "antminer", wall_s, 0.1, 0.0, reading=reading)

    def own(self, sample: str) -> float:
        """The agent's own number of this name and labels."""
        text = b"".join(block for family in self.vitals.families() for block in render_family(family)).decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return float(lines[sample])


def quotes(btc_usd: float, at_s: float) -> tuple[Quote, ...]:
    values = {
        MarketInput.DIFFICULTY: 141.67e12,
        MarketInput.HEIGHT: 935_140.0,
        MarketInput.BLOCK_FEES_BTC: 0.02,
        MarketInput.BTC_USD: btc_usd,
    }
    return tuple(
        Quote(each, "fixed", value, at_s, SOFT_AGE_S[each], HARD_AGE_S[each]) for each, value in values.items()
    )


def actions(cycle: Cycle) -> list[int]:
    return cycle.decision.action.tolist()


def test_a_fall_of_the_price_stops_and_its_return_starts() -> None:
    story = Story()
    assert actions(story.step()) == RUN * 4
    story.btc_usd = BAD_USD
    story.step()
    assert actions(story.step()) == STOP * 4
    story.silent = set(story.watts)
    assert actions(story.step(INTERVAL_S * 4)) == STOP * 4
    story.btc_usd = GOOD_USD
    story.step()
    assert actions(story.step()) == RUN * 4


def test_without_feeds_the_status_degrades_then_holds_and_gives_stops_back_but_never_stops_anew() -> None:
    story = Story()
    first, second, *_ = story.watts
    story.watts[first] = 9.0e3  # this one loses at any price here: 9 kW cost 0.28 USD/h
    story.step()
    stopped = story.step()
    assert actions(stopped) == STOP + RUN * 3
    story.silent = {first}  # it was switched off as advised

    story.btc_usd = None  # every feed dies
    died_s = story.at_s
    statuses: list[tuple[float, Status, list[int]]] = []
    is_loss_seen = False
    for _ in range(70):
        cycle = story.step()
        statuses.append((story.at_s - died_s, cycle.decision.status, actions(cycle)))
        assert actions(cycle)[1:] in (RUN * 3, HOLD * 3)
        if cycle.decision.status is Status.DEGRADED:
            story.watts[second] = 9.0e3  # another one begins to lose, at the last price known
            is_loss_seen = is_loss_seen or bool(cycle.economics.margin_usd_h[1] < 0)
    assert is_loss_seen

    # the ages of a price: 120 s and 900 s
    assert {status for age_s, status, _ in statuses if age_s <= 120} == {Status.OK}
    assert {status for age_s, status, _ in statuses if 120 < age_s <= 900} == {Status.DEGRADED}
    assert {status for age_s, status, _ in statuses if age_s > 900} == {Status.HOLD}
    held_s = min(age_s for age_s, status, _ in statuses if status is Status.HOLD)
    given_back_s = min(age_s for age_s, _, action in statuses if action[0] != Action.STOP)
    assert given_back_s == held_s + POLICY.hold_release_s
    assert {action[0] for age_s, _, action in statuses if age_s >= given_back_s} == {Action.RUN}

    story.btc_usd = GOOD_USD
    assert story.step().decision.status is Status.OK


def test_a_stop_that_nobody_obeyed_is_given_back_as_run_too() -> None:
    story = Story()
    first, *_ = story.watts
    story.watts[first] = 9.0e3
    story.step()
    assert actions(story.step()) == STOP + RUN * 3
    story.btc_usd = None
    for _ in range(70):
        cycle = story.step()  # it goes on hashing all the while
    assert cycle.decision.status is Status.HOLD
    assert actions(cycle) == RUN + HOLD * 3


def test_an_operator_may_keep_stops_through_a_hold() -> None:
    story = Story(policy=replace(POLICY, hold_keep=True))
    story.btc_usd = BAD_USD
    story.step()
    assert actions(story.step()) == STOP * 4
    story.btc_usd = None
    for _ in range(100):
        cycle = story.step()
    assert cycle.decision.status is Status.HOLD
    assert actions(cycle) == STOP * 4


def test_what_cannot_be_written_turns_nothing_off(tmp_path: Path, mocker) -> None:
    journal = Journal.open(tmp_path / "hashwatt.db")
    story = Story(journal)
    story.step()
    for name in ("commit_decision", "save_memory"):
        mocker.patch.object(journal, name, side_effect=JournalError("disk full"))
    story.btc_usd = BAD_USD
    for _ in range(4):
        cycle = story.step()
        assert actions(cycle) == RUN * 4
    assert cycle.decision.status is Status.HOLD
    assert cycle.decision.status_reasons == Why.STORAGE
    assert story.own("hashwatt_storage_ok") == 0.0

    mocker.stopall()  # room again
    story.step()
    cycle = story.step()
    assert (cycle.decision.status, actions(cycle)) == (Status.OK, STOP * 4)
    assert story.own("hashwatt_storage_ok") == 1.0
    assert [row.decision_id for row in journal.decisions()] == [cycle.decision_id]
    journal.close()


def test_a_journal_that_is_full_holds_every_stop(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "hashwatt.db", max_bytes=1)  # SQLite's least: 64 KiB
    story = Story(journal, machines=3000)
    watts = np.random.default_rng(1).uniform(3000.0, 3100.0, 3000)  # what does not repeat does not compress
    story.watts = dict(zip(story.watts, watts.tolist(), strict=True))
    story.step()
    story.btc_usd = BAD_USD
    for _ in range(4):
        cycle = story.step()
        assert not (cycle.decision.action == Action.STOP).any()
        assert not journal.decisions()
    assert Why.STORAGE in cycle.decision.status_reasons
    journal.close()


def test_a_turn_is_on_the_disk_before_a_sink_hears_of_it_and_survives_a_restart(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "hashwatt.db")
    kept_when_heard: list[tuple[str, bool]] = []

    class Reader:
        def publish(self, cycle: Cycle) -> None:
            is_kept = journal.decision(cycle.decision_id) is not None
            kept_when_heard.append((cycle.decision_id, is_kept or not cycle.decision.changed.any()))

    story = Story(journal, {"reader": Reader()})
    story.step()
    story.btc_usd = BAD_USD
    story.step()
    cycle = story.step()
    assert actions(cycle) == STOP * 4
    assert all(is_kept for _, is_kept in kept_when_heard)
    story.loop.save()
    journal.close()

    journal = Journal.open(tmp_path / "hashwatt.db")
    again = Story(journal)
    again.loop.recall(again.watts.keys())
    again.silent, again.btc_usd, again.at_s = set(again.watts), BAD_USD, story.at_s
    # nobody answers, and still it is known what they are and could do
    after = again.step()
    assert actions(after) == STOP * 4
    assert after.decision_id == cycle.decision_id
    np.testing.assert_allclose(after.economics.margin_usd_h, cycle.economics.margin_usd_h)
    journal.close()


def test_machines_that_no_inventory_names_are_asked_back_after_a_power_cut(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "hashwatt.db")
    story = Story(journal, has_inventory=False)
    story.step()
    story.btc_usd = BAD_USD
    story.step()
    assert actions(story.step()) == STOP * 4
    journal.close()  # the power goes: nothing was saved on purpose

    journal = Journal.open(tmp_path / "hashwatt.db")
    again = Story(journal, has_inventory=False)
    *kept, removed = again.watts
    again.loop.recall(kept)  # the operator took the last address out of the range meanwhile
    del again.watts[removed]
    again.silent, again.at_s = set(kept), story.at_s
    again.step()
    assert again.table.site.ids == ("ip-10-0-0-1", "ip-10-0-0-2", "ip-10-0-0-3")
    assert again.table.is_round_complete()
    assert actions(again.step()) == RUN * 3
    journal.close()


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_step_of_the_wall_clock_holds_until_quotes_of_the_new_time_are_there(step_s: float) -> None:
    story = Story()
    story.step()
    story.btc_usd = BAD_USD
    story.ahead_s = step_s
    cycle = story.step()
    assert cycle.decision.status is Status.HOLD
    assert Why.CLOCK in cycle.decision.status_reasons
    assert actions(cycle).count(Action.STOP) == 0
    assert story.own("hashwatt_clock_trusted") == 0.0
    for _ in range(3):
        cycle = story.step()
    assert story.own("hashwatt_clock_trusted") == 1.0
    assert (cycle.decision.status, actions(cycle)) == (Status.OK, STOP * 4)


def test_a_clock_before_its_time_is_not_trusted() -> None:
    story = Story()
    story.ahead_s = 1000.0 - T0_S  # a gateway without a battery wakes up in 1970
    story.btc_usd = BAD_USD
    for _ in range(3):
        cycle = story.step()
        assert Why.CLOCK in cycle.decision.status_reasons
        assert actions(cycle).count(Action.STOP) == 0


def test_a_sink_that_fails_is_counted_and_the_others_go_on() -> None:
    heard: list[Cycle] = []

    class Broken:
        def publish(self, cycle: Cycle) -> None:
            raise RuntimeError("no")

    class Well:
        def publish(self, cycle: Cycle) -> None:
            heard.append(cycle)

    story = Story(sinks={"broken": Broken(), "well": Well()})
    cycles = [story.step() for _ in range(3)]
    assert heard == cycles
    assert story.own('hashwatt_sink_errors_total{sink="broken"}') == 3.0


def test_only_a_value_that_moved_is_worth_a_tick_at_once() -> None:
    loop = Story().loop

    def hear(btc_usd: float, at_s: float) -> bool:
        return loop.take_quotes([Outcome("kraken", "kraken", at_s, 0.1, 0.0, quotes=quotes(btc_usd, at_s))])

    assert hear(GOOD_USD, T0_S)
    assert not hear(GOOD_USD, T0_S + 30)
    assert hear(BAD_USD, T0_S + 60)
    fault = Outcome("kraken", "kraken", T0_S + 90, 0.1, 0.0, fault=Fault(FaultKind.TIMEOUT))
    assert not loop.take_quotes([fault])
