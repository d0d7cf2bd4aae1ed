"""Boards and rules: current, whole, and answered with data by a real Prometheus that scrapes a real page."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import find_peer
from cycles import small_cycle

from dashboards.alerts import ALERTS, CASES
from dashboards.build import BOARDS, FOLDER, files
from dashboards.panels import DATASOURCE
from exporters import metrics
from exporters.metrics import Family, Kind, family, histogram
from exporters.prometheus import CONTENT_TYPE, render
from fleet.capital import Appraisal, FeederValue, Keep, Worth
from fleet.market import CrossCheck, InputState
from fleet.presets import PresetColumns, PresetMoney
from fleet.tariff import PowerPrice

DEADLINE_S = 60.0
DOCUMENTS = {board.uid: json.loads(files()[f"{board.uid}.json"]) for board in BOARDS}
PANELS = [panel for board in DOCUMENTS.values() for panel in board["panels"] if panel["type"] != "row"]
EXPRESSIONS = sorted({target["expr"] for panel in PANELS for target in panel["targets"]})


@pytest.mark.parametrize("name", files())
def test_the_files_are_current(name):
    assert (FOLDER / name).read_text() == files()[name], "run `python -m dashboards.build`"


def test_every_metric_name_is_in_the_table():
    known = {row.name for row in metrics.TABLE}
    text = json.dumps(DOCUMENTS) + " ".join(f"{alert.expr} {alert.action}" for alert in ALERTS)
    used = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name
            for name in re.findall(r"\bhashwatt_\w+", text)}  # fmt: skip
    assert used <= known
    assert len(used) > 30


@pytest.mark.parametrize("uid", DOCUMENTS)
def test_panels_are_distinct_and_do_not_overlap(uid):
    everything = DOCUMENTS[uid]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = [
        (x, y)
        for panel in everything
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_every_panel_has_a_unit_and_only_the_chosen_datasource():
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == DATASOURCE
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])


def test_boards_are_told_apart_and_lead_to_each_other():
    assert len({board["title"] for board in DOCUMENTS.values()}) == len(DOCUMENTS) == len(BOARDS) > 1
    for uid, board in DOCUMENTS.items():
        assert board["uid"] == uid
        assert {link["url"] for link in board["links"]} == {f"/d/{other}" for other in DOCUMENTS if other != uid}


def test_every_table_of_machines_opens_the_machine_on_the_board_that_has_the_variable():
    links = [link["url"] for panel in PANELS for link in panel["fieldConfig"]["defaults"].get("links", ())]
    assert len(links) >= 2
    variables = {board["uid"]: {each["name"] for each in board["templating"]["list"]} for board in DOCUMENTS.values()}
    for link in links:
        board, variable = re.match(r"/d/([\w-]+)\?var-(\w+)=\$\{__(?:data|field)\.", link).groups()
        assert variable in variables[board]


def test_no_panel_has_more_queries_than_there_are_letters():
    assert {target["refId"] for panel in PANELS for target in panel["targets"]} <= set(map(chr, range(65, 91)))


def test_every_alert_has_a_case_in_which_it_fires():
    assert {name for case in CASES for name in case.fires} == {alert.name for alert in ALERTS}
    assert any(not case.fires for case in CASES)


@pytest.mark.peer("promtool")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")])
def test_promtool_accepts_the_rules(arguments):
    check = subprocess.run(
        [find_peer("promtool") or "promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert check.returncode == 0, check.stdout + check.stderr


# --- a real Prometheus -------------------------------------------------------------------------------------------


def own_families(count: int) -> list[Family]:
    """Everything that the agent itself would hand over, after `count` rounds."""
    return [
        histogram(row, (1.0, 2.0), {("x",) * len(row.labels): ([count, count, count], 4.0 * count)})
        if row.kind is Kind.HISTOGRAM
        else family(row, {("x",) * len(row.labels): float(count)})
        for row in metrics.TABLE
        if row.columns is None
    ]


def whole_cycle():
    """The small farm in a world where nothing is missing: what is published stands beside ours, all is foreseen, and
    a machine lists presets."""
    cycle = small_cycle()
    published = CrossCheck(31.0, 31.5 / 31.0 - 1.0, 60.0, InputState.FRESH, "luxor")
    one = np.array([1.0])
    return replace(
        cycle,
        valuation=replace(cycle.valuation, cross_check=published, btc_usd_raw=70_010.0),
        economics=replace(cycle.economics, kept_margin_usd_h=cycle.economics.margin_usd_h),
        outlook=replace(cycle.outlook, lag_ratio=-0.08),
        power=(PowerPrice("", 0.06, "flat", InputState.FRESH),),
        presets=PresetMoney(
            PresetColumns(rows=np.array([0])), marginal_j_per_th=38.0 * one, best_power_w=2500.0 * one, gain_usd_h=one
        ),
    )


def whole_appraisal(cycle):
    n, one = len(cycle.snapshot), np.ones(len(cycle.snapshot))
    worth = Worth(700.0 * one, 50.0 * one, 200.0 * one, np.full(n, Keep.KEEP, np.uint8))
    feeder = FeederValue("F1", n, 0, 6450.0, 2950.0, 0.062, 0.1, False)
    return Appraisal(cycle.at_s - 60.0, cycle.snapshot.ids, n, worth, (feeder,))


class Page(BaseHTTPRequestHandler):
    scrapes = 0

    def do_GET(self) -> None:
        Page.scrapes += 1
        cycle = whole_cycle()
        blocks = render(
            cycle,
            now_s=cycle.at_s,
            lease_valid_until_s=cycle.at_s + 120,
            extra=own_families(Page.scrapes),
            appraisal=whole_appraisal(cycle),
        )
        body = b"".join(blocks)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def prometheus(tmp_path: Path, free_port: int) -> Iterator[str]:
    """Address of a Prometheus that loads our rules and scrapes a small farm every second."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{FOLDER / 'alerts.yml'}]\n"
        "scrape_configs:\n"
        "- job_name: hashwatt\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]\n"
    )
    process = subprocess.Popen(
        [
            find_peer("prometheus") or "prometheus", f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{free_port}", "--log.level=error",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"http://127.0.0.1:{free_port}"
    process.terminate()
    process.wait(DEADLINE_S)
    server.shutdown()
    server.server_close()


def answer(base: str, path: str, **query: str):
    """The `data` of one API call; None while the server is not there yet."""
    try:
        with urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as reply:
            return json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{query}: {error.read()!r}")
    except (ConnectionError, urllib.error.URLError):
        return None


@pytest.mark.peer("prometheus")
def test_every_expression_returns_data(prometheus):
    missing = [
        expr.replace("$__rate_interval", "10s").replace("$machine", ".*") for expr in EXPRESSIONS
    ] + ["up{job=\"hashwatt\"}"]  # fmt: skip
    end = time.monotonic() + DEADLINE_S
    while missing and time.monotonic() < end:
        missing = [
            expr for expr in missing if not (answer(prometheus, "query", query=expr) or {"result": []})["result"]
        ]
        time.sleep(0.2)
    assert missing == []
    rules = answer(prometheus, "rules")["groups"][0]["rules"]
    assert [rule["name"] for rule in rules] == [alert.name for alert in ALERTS]
    assert not any(rule.get("lastError") for rule in rules)
