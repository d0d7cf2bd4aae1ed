"""What leaves a running agent: a page from which a real Prometheus answers every panel, and messages over a broker."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import find_peer

from dashboards.alerts import ALERTS
from dashboards.build import BOARDS, FOLDER, files
from hil.control import end

from .conftest import DEADLINE_S, POLL, QUICK, ROOT, AgentProcess, wait_for

MACHINES = 40
TOPIC = "hashwatt/virtual"
HEAD = f"{TOPIC}/curtailment/recommendation/v1"
STATUS = f"{TOPIC}/agent/status"
DOCUMENTS = [json.loads(files()[f"{board.uid}.json"]) for board in BOARDS]
EXPRESSIONS = {
    target["expr"]: f"{board['title']}: {panel['title']}"
    for board in DOCUMENTS
    for panel in board["panels"]
    for target in panel.get("targets", ())
}
UNSEEN = {
    "hashwatt_machine_preset": "no machine of the virtual farm lists presets",
    "hashwatt_history_server_ok": "the history has no second home here",
    "hashwatt_history_rows_behind": "the same",
}
"""Part of an expression -> why this farm has nothing to say to it."""

PUBLISHED_USD_PH_DAY = 31.3
"""What others publish in the world of this farm, within 3 % of ours at 70,000 USD, 141.67T and fees of 0.02 BTC."""

OPERATORS_WORDS = """
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
alternative_usd_per_kwh = 0.08
"""


@pytest.fixture
def agent(start_farm, start_agent, mosquitto, tmp_path) -> AgentProcess:
    """An agent that has seen all of its farm: machines of four models, of which the oldest run at a loss."""
    farm = start_farm("--machines", str(MACHINES), "--pdus", "2", "--boot-s", "0")
    config = farm.write_site(
        tmp_path / "site", interval_s=2.0, poll=POLL, policy=QUICK, listen="127.0.0.1:0",
        mqtt_url=f"mqtt://127.0.0.1:{mosquitto}",
    )  # fmt: skip
    config.with_name("published.toml").write_text(
        f"published_usd_ph_day = {PUBLISHED_USD_PH_DAY}\nas_of = {datetime.now(UTC).isoformat()}\ngood_for_h = 24\n"
    )
    with config.open("a") as file:
        file.write(f'[market.file]\npath = "published.toml"\n{OPERATORS_WORDS}')
    agent = start_agent(config)
    wait_for(agent.is_ready, "a whole round of polls")
    return agent


# --- Prometheus --------------------------------------------------------------------------------------------------


@pytest.fixture
def prometheus(agent: AgentProcess, tmp_path: Path) -> Iterator[Callable[..., object]]:
    """Asks a Prometheus that scrapes the agent every second and runs our rules: `ask("query", query="up")`."""
    from hil.loopback import free_tcp_port

    port = free_tcp_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{FOLDER / 'alerts.yml'}]\n"
        "scrape_configs:\n"
        "- job_name: hashwatt\n"
        f"  static_configs: [{{targets: ['{agent.target}']}}]\n"
    )
    process = subprocess.Popen(
        [
            find_peer("prometheus") or "prometheus", f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(path: str, **query: str) -> object:
        """The `data` of one API call; None while the server is not there yet."""
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return None
            pytest.fail(f"{query}: {error.read()!r}")
        except (ConnectionError, urllib.error.URLError):
            return None

    yield ask
    end(process)


@pytest.mark.peer("mosquitto")
@pytest.mark.peer("prometheus")
def test_every_panel_variable_and_alert_is_answered_from_a_running_agent(prometheus):
    def has_data(expr: str) -> bool:
        data = prometheus("query", query=expr.replace("$__rate_interval", "10s").replace("$machine", ".*"))
        return any(not math.isnan(float(series["value"][1])) for series in (data or {"result": ()})["result"])

    missing = {expr: where for expr, where in EXPRESSIONS.items() if not any(part in expr for part in UNSEEN)}

    def is_answered() -> bool:
        for expr in [expr for expr in missing if has_data(expr)]:
            del missing[expr]
        return not missing

    assert len(missing) > 130
    try:
        wait_for(is_answered, "data for every panel")
    except AssertionError:
        pytest.fail(f"panels without data: {missing}")

    machines = prometheus("label/machine/values", **{"match[]": "hashwatt_machine_up"})
    assert len(machines) == MACHINES
    variables = [
        each["definition"] for board in DOCUMENTS for each in board["templating"]["list"] if each["type"] == "query"
    ]
    assert variables == ["label_values(hashwatt_machine_up, machine)"]

    for alert in ALERTS:
        assert prometheus("query", query=alert.expr) is not None, alert.name
    groups = wait_for(
        lambda: [g for g in prometheus("rules")["groups"] if all(r["health"] == "ok" for r in g["rules"])],
        "rules that were evaluated without an error",
    )
    assert [rule["name"] for rule in groups[0]["rules"]] == [alert.name for alert in ALERTS]


@pytest.mark.peer("mosquitto")
@pytest.mark.peer("promtool")
def test_promtool_has_nothing_to_say_about_the_live_page(agent):
    text = agent.wait_page(lambda page: page["hashwatt_mqtt_connected"].get(()) == 1.0, "a broker connection").text
    check = subprocess.run(
        [find_peer("promtool") or "promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


# --- the ladder ---------------------------------------------------------------------------------------------------


def ladder_of(config: Path, *words: str) -> dict[str, Any]:
    """What `hashwatt ladder` says of a site, in a process of its own."""
    command = [sys.executable, "-m", "agent", "ladder", "--json", "--config", str(config), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.peer("mosquitto")
def test_the_ladder_asks_the_agent_that_runs_and_takes_a_look_where_none_answers(agent, tmp_path):
    config = tmp_path / "site" / "hashwatt.toml"
    agent.wait_page(lambda page: len(page["hashwatt_machine_margin_usd_per_hour"]) == MACHINES, "a cycle of all")
    asked = ladder_of(config, "--url", agent.url)
    assert (asked["basis"], asked["site"], asked["priced"], asked["unpriced"]) == ("agent", "virtual", MACHINES, {})
    assert 0.0 <= asked["age_s"] < DEADLINE_S
    looked = ladder_of(config)  # no agent listens on the port 0 of the configuration
    assert (looked["basis"], looked["priced"]) == ("look", MACHINES)
    for told in (asked, looked):
        assert told["levels"][0]["btc_usd"] == 92_000.0
        assert told["market"]["difficulty"] == 141.67e12
        assert told["levels"][0]["rungs"][0]["under"] < told["levels"][-1]["rungs"][-1]["under"] == MACHINES
        assert [row["feeder"] for row in told["feeders"]] == ["feeder1"]
    today = asked["today"]
    assert sum(each["machines"] for each in today["prices"]) == MACHINES
    assert 0 < today["under"] < MACHINES


# --- MQTT --------------------------------------------------------------------------------------------------------


@pytest.mark.peer("mosquitto")
def test_birth_state_head_and_plan_arrive_and_a_killed_agent_leaves_its_will_and_no_head(agent, mosquitto, subscribe):
    reader = subscribe(mosquitto)
    assert wait_for(lambda: reader.json(STATUS), "a birth")["status"] == "online"
    states = [f"{TOPIC}/machines/m{number:05d}/state" for number in range(1, MACHINES + 1)]

    def is_known(state: dict[str, object] | None) -> bool:
        return state is not None and (state["up"], state["power_source"]) == (True, "metered")

    wait_for(lambda: all(is_known(reader.json(topic)) for topic in states), "the state of every machine")
    wait_for(lambda: len([topic for topic in reader.seen if topic.startswith(f"{TOPIC}/pdus/")]) == 2, "both PDUs")

    plan = wait_for(reader.plan, "a plan whose digest the head names")
    assert "stop" in {row["action"] for row in plan.values()}
    head = reader.json(HEAD)
    assert len(reader.seen[HEAD]) <= 4096
    assert (head["status"], head["action"], head["mode"]) == ("ok", "PARTIAL", "advisory")
    assert head["totals"]["machines"] == MACHINES

    workers = agent.workers()
    assert workers
    killed_s = time.monotonic()
    agent.process.kill()
    agent.process.wait()
    wait_for(lambda: reader.json(STATUS)["status"] == "offline", "the will")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")

    def is_head_gone() -> bool:
        late = subscribe(mosquitto, f"{TOPIC}/#")
        wait_for(lambda: STATUS in late.seen and states[0] in late.seen, "what is retained")
        late.close()
        return HEAD not in late.seen

    wait_for(is_head_gone, "the end of the head")
    assert time.monotonic() - killed_s < QUICK["lease_s"] + 15.0
