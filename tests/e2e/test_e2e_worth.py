"""The worth of a farm on the pages of an agent that runs, and by one look at the same machines."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

from .conftest import DEADLINE_S, POLL, QUICK, ROOT

KEEP = """
[economics.keep]
months = 36
uptime_ratio = 0.95
slot_usd_month = 4.0
repair_usd_month = 3.0
labour_usd_month = 2.0
resale_usd_th = 2.0
residual_usd_th = 0.3
discount_per_year = 0.15
hashprice_decline_per_year = 0.20
hashprice_sigma_per_root_year = 0.6
[feeders.feeder1]
alternative_usd_per_kwh = 0.211
"""


def test_an_agent_that_runs_says_who_is_worth_his_place_and_what_a_feeder_could_earn(start_farm, start_agent, tmp_path):
    farm = start_farm("--machines", "8", "--boot-s", "0")
    config = farm.write_site(tmp_path / "site", interval_s=2.0, poll=POLL, policy=QUICK, listen="127.0.0.1:0")
    with config.open("a") as file:
        file.write(KEEP)
    agent = start_agent(config)
    page = agent.wait_page(lambda page: page.machines("hashwatt_machine_retire"), "an appraisal")
    verdicts = page["hashwatt_machine_retire"]
    assert {verdict for _, verdict in verdicts} <= {"keep", "retire", "uncertain"}
    assert page.machines("hashwatt_machine_keep_value_usd") == page.machines("hashwatt_machine_retire")
    # no hash earns 211 USD/MWh: all the power of the feeder is below
    assert page["hashwatt_feeder_alternative_usd_per_kilowatt_hour"] == {("feeder1",): 0.211}
    assert page["hashwatt_feeder_below_alternative_watts"] == page["hashwatt_feeder_power_watts"]
    with urllib.request.urlopen(f"{agent.url}/status.json", timeout=DEADLINE_S) as reply:
        worth = json.load(reply)["worth"]
    assert sum(worth["verdicts"].values()) + worth["unknown"] == 8
    assert worth["below_alternative_feeders"] == 1
    for words, basis in ((("--url", agent.url), "agent"), (("--look",), "look")):
        done = subprocess.run(
            [sys.executable, "-m", "agent", "worth", "--json", "--config", str(config), *words],
            cwd=ROOT, capture_output=True, timeout=DEADLINE_S, check=True,
        )  # fmt: skip
        document = json.loads(done.stdout)
        assert (document["basis"], document["machines"], document["warnings"]) == (basis, 8, [])
        assert document["priced"] > 0
