"""What a run of the agent left in the history is what the report says of it: energy, work and money of real polls."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from hil.control import end

from .conftest import DEADLINE_S, POLL, ROOT

MACHINES = 6


def test_a_report_of_the_minutes_that_an_agent_ran(start_farm, start_agent, tmp_path):
    farm = start_farm("--machines", str(MACHINES), "--boot-s", "0")
    config = farm.write_site(tmp_path / "site", interval_s=2.0, poll=POLL, listen="127.0.0.1:0")
    # the story may run over midnight
    yesterday = str(datetime.now(UTC).date() - timedelta(days=1))
    agent = start_agent(config)
    margin = "hashwatt_machine_margin_usd_per_hour"
    agent.wait_page(lambda page: len(page[margin]) == MACHINES, "a margin of each machine")
    first = agent.page()["hashwatt_cycles_total"][()]
    page = agent.wait_page(lambda page: page["hashwatt_cycles_total"][()] >= first + 5, "five cycles more")
    assert end(agent.process) == 0  # what it has booked is written at the end
    page_file = tmp_path / "report.html"
    done = subprocess.run(
        [sys.executable, "-m", "agent", "report", "--config", str(config), "--json", "--html", str(page_file),
         "--from", yesterday, "--to", "today"],
        cwd=ROOT, capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    document = json.loads(done.stdout)
    assert (document["machines"], document["is_finished"]) == (MACHINES, False)
    machines = {row["name"]: row for row in document["groups"]["machine"]}
    for (name,), usd_per_hour in page[margin].items():
        row = machines[name]
        assert 0.0 < row["metered_ratio"] <= 1.0  # watts of its own before its outlet was read for the first time
        per_hour = 3600.0 / row["priced_s"]
        # machines wobble: what these seconds gave is near to what the last page promised
        assert row["margin_usd"] * per_hour == pytest.approx(usd_per_hour, abs=0.2 * row["revenue_usd"] * per_hour)
    site = document["groups"]["site"][0]
    assert site["energy_j"] == sum(row["energy_j"] for row in machines.values())
    assert document["prices"]["hashprice_usd_ph_day"]["known_s"] > 0.0
    ElementTree.parse(page_file)
