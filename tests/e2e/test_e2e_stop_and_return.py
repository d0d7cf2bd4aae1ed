"""Every machine is stopped on advice, goes dark without being forgotten, and is asked back when the price returns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import POLL, QUICK, AgentProcess, Page, wait_for

MACHINES = 24
WAVES = QUICK | {
    "stop_ramp_ratio": 0.3, "stop_ramp_s": 4.0, "start_ramp_ratio": 0.3, "start_ramp_s": 4.0, "quorum_ratio": 0.5,
}  # fmt: skip
"""A third of the site at once, and a third more every four seconds. The quorum: one silent machine of two is enough."""

GOOD_USD, BAD_USD = 70_000.0, 12_000.0
"""BTC prices at which all machines of the farm earn, and lose, at 0.02 USD/kWh.

By hand, at difficulty 141.67e12 and 3.145 BTC a block: 31.3 and 5.4 USD/PH/day. The best machine, 200 TH/s at 3500 W,
earns 0.257 and 0.044 USD/h, the worst, 104 TH/s at 3068 W, 0.134 and 0.023; their power costs 0.074 and 0.064.
"""

HASHRATE = "hashwatt_machine_hashrate_hashes_per_second"


class Watched:
    """Pages of an agent, and the numbers of stops that they showed one after the other."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self.stops: list[int] = [0]
        self.ever_stopped: set[str] = set()

    def page(self) -> Page:
        page = self._agent.page()
        stopped = page.advised("stop")
        self.ever_stopped |= stopped
        if len(stopped) != self.stops[-1]:
            self.stops.append(len(stopped))
        return page

    def until(self, has: Callable[[Page], bool], what: str) -> Page:
        return wait_for(lambda: page if has(page := self.page()) else None, what)


@pytest.mark.peer("mosquitto")
def test_all_stop_in_waves_go_dark_and_come_back_in_waves(start_farm, start_agent, mosquitto, subscribe, tmp_path):
    farm = start_farm("--machines", str(MACHINES), "--pdus", "2", "--boot-s", "0.5", "--price", str(GOOD_USD))
    agent = start_agent(
        farm.write_site(
            tmp_path / "site", interval_s=2.0, usd_per_kwh=0.02, poll=POLL, policy=WAVES, listen="127.0.0.1:0",
            feeds=["mempool", "coinbase", "kraken"], mqtt_url=f"mqtt://127.0.0.1:{mosquitto}",
        )
    )  # fmt: skip
    ids = [f"m{number:05d}" for number in range(1, MACHINES + 1)]
    lost, everyone = ids[4], set(ids)
    others = everyone - {lost}
    watched, consumer = Watched(agent), subscribe(mosquitto)

    watched.until(lambda page: page.advised("run") == everyone, "a farm that shall run")
    assert watched.until(lambda page: page.machines(HASHRATE) == everyone, "hash of all").advised("stop") == set()

    # one machine is lost before anybody advised to stop it: nothing is known about it, so nothing is advised
    farm.control.order("fault", machines=[lost], kind="silent")
    watched.until(lambda page: page.advised("hold") == {lost}, "a machine without advice")
    assert wait_for(consumer.plan, "a plan")[lost]["reasons"] == ["UNREACHABLE"]

    # the price falls: a consumer switches off what it is advised to, wave by wave
    farm.control.order("price", usd=BAD_USD)
    off: set[str] = set()

    def obey(_: Page) -> bool:
        new = {id for id, row in (consumer.plan() or {}).items() if row["action"] == "stop"} - off
        if new:
            farm.control.order("outlet", machines=sorted(new), on=False)
            off.update(new)
        return off == others

    watched.until(obey, "advice to stop every machine that answers")
    assert watched.stops == sorted(watched.stops)
    assert len(watched.stops) - 1 >= 3, f"in waves: {watched.stops}"

    # dark: down with a fault, no hash, and the advice stands
    dark = watched.until(
        lambda page: page.machines("hashwatt_machine_up", 0.0) == everyone and not page.machines(HASHRATE), "darkness"
    )
    assert {machine for _, machine in dark["hashwatt_machine_fault"]} == everyone
    assert {kind for kind, _ in dark["hashwatt_machine_fault"]} <= {"unreachable", "refused", "timeout"}
    assert dark.advised("stop") == others
    assert dark.advised("hold") == {lost}

    # the price returns: the dark ones are asked back by what they could do, in waves
    turned = len(watched.stops)
    farm.control.order("price", usd=GOOD_USD)
    asked = watched.until(lambda page: not page.advised("stop"), "advice to run again")
    assert watched.stops[turned:] == sorted(watched.stops[turned:], reverse=True)
    assert len(watched.stops) - turned >= 3, f"in waves: {watched.stops}"
    assert asked.machines("hashwatt_machine_up", 0.0) == everyone

    farm.control.order("outlet", machines=sorted(off), on=True)
    back = watched.until(lambda page: page.machines("hashwatt_machine_up", 1.0) == others, "all that were stopped")
    assert back.advised("stop") == set()
    farm.control.order("fault", machines=[lost], kind="none")
    watched.until(lambda page: page.advised("run") == everyone == page.machines(HASHRATE), "the whole farm")
    assert lost not in watched.ever_stopped
