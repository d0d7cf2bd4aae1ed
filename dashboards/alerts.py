"""The alert rules and their unit tests, with the metric names of `exporters.metrics`.

An alert about a value asks that the value is there; what is missing has alerts of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporters import metrics as m


@dataclass(frozen=True)
class Alert:
    """One rule. In the texts `{{ $labels.x }}` is the only template, so that their tests can be made from labels."""

    name: str
    expr: str
    for_: str
    severity: str
    summary: str
    action: str


ALERTS: Sequence[Alert] = (
    Alert(
        "HashwattAgentDown", 'up{job="hashwatt"} == 0 or absent(up{job="hashwatt"})', "2m", "critical",
        "The agent does not answer Prometheus",
        "Leases run out by themselves. See systemctl status hashwatt and the network to the gateway.",
    ),
    Alert(
        "HashwattMachinesUnreachable", f"count({m.MACHINE_UP} == 0) / count({m.MACHINE_UP}) > 0.1", "5m", "critical",
        "More than a tenth of the machines do not answer",
        f"Look at {m.MACHINE_FAULT} by kind: a switch or a feeder is likelier than many machines.",
    ),
    Alert(
        "HashwattMachineDown", f"{m.MACHINE_UP} == 0", "15m", "warning",
        "Machine {{ $labels.machine }} does not answer", f"{m.MACHINE_FAULT} names the fault of the last poll.",
    ),
    Alert(
        "HashwattPowerWithoutHash", f'{m.MACHINE_METER_DOUBT}{{reason="power_without_hash"}} == 1', "10m", "warning",
        "Machine {{ $labels.machine }} draws power and shows no hash",
        "Its meter has seen more than standby power for 20 minutes. Look at its log, or switch the outlet off and on.",
    ),
    Alert(
        "HashwattMeterIsAnothers",
        f'{m.MACHINE_METER_DOUBT}{{reason=~"hash_without_power|excess|contested|replaced"}} == 1', "5m", "warning",
        "The meter of machine {{ $labels.machine }} is not its own ({{ $labels.reason }})",
        "It is not used meanwhile. Look which outlet feeds the machine, then at the inventory and the outlet's name.",
    ),
    Alert(
        "HashwattBreakerAtLimit", f'{m.PDU_ROW_DOUBT}{{reason="at_limit"}} == 1', "1m", "critical",
        "PDU {{ $labels.pdu }}, {{ $labels.kind }} {{ $labels.row }}, carries 95 % of its rating",
        "It may open at any moment. Move or stop a machine that hangs on it.",
    ),
    Alert(
        "HashwattBreakerNearLimit",
        f'{m.PDU_ROW_DOUBT}{{reason="near_limit"}} == 1'
        f' unless ignoring (reason) {m.PDU_ROW_DOUBT}{{reason="at_limit"}}',
        "5m", "warning", "PDU {{ $labels.pdu }}, {{ $labels.kind }} {{ $labels.row }}, carries 80 % of its rating",
        "Breakers carry that for three hours, not for days. Spread its machines over the others.",
    ),
    Alert(
        "HashwattPduDoubtful", f'{m.PDU_DOUBT}{{reason=~"imbalance|sum|frozen|replaced"}} == 1', "10m", "warning",
        "PDU {{ $labels.pdu }} should be looked at: {{ $labels.reason }}",
        "imbalance: move machines between its phases; sum: outlets and total disagree; frozen: restart its network"
        " card; replaced: check which machine hangs where, then restart the agent.",
    ),
    Alert(
        "HashwattMachineHot", f'max by (machine) ({m.MACHINE_TEMPERATURE}{{sensor="chip"}}) > 95', "5m", "warning",
        "Chips of machine {{ $labels.machine }} are hotter than 95 degrees", "Look at fans, filters and inlet air.",
    ),
    Alert(
        "HashwattWrongPool", f"{m.MACHINE_WRONG_POOL} == 1", "5m", "critical",
        "Machine {{ $labels.machine }} works for a pool that is not expected",
        "The status page names the pool. Look at the machine's pools and who changed them; it is not priced meanwhile.",
    ),
    Alert(
        "HashwattMachineConflict", f"{m.MACHINE_CONFLICT} == 1", "10m", "warning",
        "The MAC or serial of machine {{ $labels.machine }} answers at two addresses",
        "The status page names both. Neither is advised until they differ: set another MAC, or flash one of them anew.",
    ),
    Alert(
        "HashwattWorkMissing",
        f'{m.MACHINE_SUSPECT}{{quantity="work"}} == 1 and on (machine) {m.MACHINE_WORK_RATIO} < 1', "10m", "warning",
        "Machine {{ $labels.machine }} claims more hash than its pool accepts",
        f"{m.MACHINE_WORK_RATIO} says how much arrives. Look at rejected work, at the pool, and at its firmware.",
    ),
    Alert(
        "HashwattPduDown", f"{m.PDU_UP} == 0", "5m", "warning", "PDU {{ $labels.pdu }} does not answer",
        "Its machines are valued by calibrated power, or by what they report themselves.",
    ),
    Alert(
        "HashwattHashpriceStale",
        f'time() - max by (input) ({m.QUOTE_AS_OF}{{input="btc_usd",source!="fixed"}}) > 600'
        f" or absent({m.HASHPRICE})", "2m", "warning", "The hashprice is old or missing",
        "Without fresh quotes no new economic stop is advised. See the feeds on the status page.",
    ),
    Alert(
        "HashwattHashpriceDiffers", f"{m.HASHPRICE_ALARM} == 1", "10m", "warning",
        "Our hashprice and a published one differ by more than 3 %",
        f"{m.PUBLISHED_DIFFERENCE} says by how much. Nothing new is stopped meanwhile. See difficulty, fees and price"
        " on the status page, then at the publisher.",
    ),
    Alert(
        "HashwattInputUnusable", f'{m.INPUT_STATE}{{state=~"missing|stale_hard|conflict"}} == 1', "5m", "warning",
        "Market input {{ $labels.input }} cannot be used: {{ $labels.state }}",
        "Advice is on hold until it can be. missing and stale_hard: see its feeds and the way to them; conflict: its"
        " sources disagree, see which one is wrong (of fees the best one counts meanwhile).",
    ),
    Alert(
        "HashwattPowerPriceUnusable", f'{m.TARIFF_STATE}{{state=~"missing|stale_hard|conflict"}} == 1', "5m", "warning",
        "The price of power by the tariff {{ $labels.tariff }} cannot be used: {{ $labels.state }}",
        "Its machines get no new advice meanwhile. See the file or the feed that it comes from.",
    ),
    Alert(
        "HashwattRecommendationExpired", f"time() > {m.VALID_UNTIL}", "1m", "critical",
        "The recommendation has expired", "Whatever acts on it must have fallen back to its failsafe by now.",
    ),
    Alert(
        "HashwattHold", f'{m.STATUS}{{status="hold"}} == 1', "15m", "warning",
        "The recommendation has been on hold for 15 minutes",
        "The head names the reason; economic stops return to run.",
    ),
    Alert(
        "HashwattStorageFailed", f"{m.STORAGE_OK} == 0", "1m", "critical", "The journal cannot be written",
        "Advice is on hold until it can be. See the disk of the gateway.",
    ),
    Alert(
        "HashwattHistoryStands", f"time() - {m.HISTORY_WRITTEN} > 1800", "5m", "warning",
        "Nothing has been written into the history for half an hour",
        f"Reports will have a gap where the gateway restarts meanwhile; advice goes on. See {m.HISTORY_ERRORS}, the"
        " log, and the disk.",
    ),
    Alert(
        "HashwattHistoryServerBehind", f"{m.HISTORY_SERVER_OK} == 0", "1h", "warning",
        "The second home of the history has taken nothing for an hour",
        f"Nothing is lost while the first one lives: it is sent later. See the log, and {m.HISTORY_BEHIND}.",
    ),
)  # fmt: skip


def rules() -> dict[str, object]:
    """The alert rules as Prometheus loads them."""
    return {"groups": [{"name": "hashwatt", "rules": [_rule(alert) for alert in ALERTS]}]}


def _rule(alert: Alert) -> dict[str, object]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.for_,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "action": alert.action},
    }


@dataclass(frozen=True)
class Case:
    """Series at one sample a minute, and the alerts that fire at `at`: name -> labels; every other one is silent."""

    what: str
    series: Mapping[str, str]
    at: str
    fires: Mapping[str, Mapping[str, str]]


UP = 'up{job="hashwatt"}'
WELL = {UP: "1x60", f"{m.HASHPRICE}": "31.5x60", f"{m.VALID_UNTIL}": "120+60x60"}
"""Series of an agent that is well; its leases end two minutes ahead."""

CASES: Sequence[Case] = (
    Case("all is well", {
        **WELL, f'{m.MACHINE_UP}{{machine="a"}}': "1x60", f'{m.MACHINE_METERED_POWER}{{machine="a"}}': "3250x60",
        f'{m.MACHINE_HASHRATE}{{machine="a"}}': "1e14x60", f'{m.PDU_UP}{{pdu="p"}}': "1x60",
        f'{m.MACHINE_WORK_RATIO}{{machine="a"}}': "0.95x60", f'{m.MACHINE_ERRORS}{{machine="a"}}': "0x60",
        f"{m.STORAGE_OK}": "1x60",
        f'{m.STATUS}{{status="ok"}}': "1x60",
        f'{m.MACHINE_TEMPERATURE}{{machine="a",sensor="chip",index="0"}}': "80x60",
        f'{m.QUOTE_AS_OF}{{input="btc_usd",source="kraken"}}': "0+60x60", f"{m.HASHPRICE_ALARM}": "0x60",
        f'{m.INPUT_STATE}{{input="btc_usd",state="fresh"}}': "1x60",
        f'{m.INPUT_STATE}{{input="difficulty",state="stale_soft"}}': "1x60",
        f'{m.TARIFF_STATE}{{tariff="(site)",source="flat",state="fresh"}}': "1x60",
    }, "40m", {}),
    Case("the scrape fails", {**WELL, UP: "0x60"}, "10m", {"HashwattAgentDown": {"job": "hashwatt"}}),
    Case("the agent was never there", {f"{m.HASHPRICE}": "31.5x60"}, "10m", {"HashwattAgentDown": {"job": "hashwatt"}}),
    Case("one machine of two is down", {
        **WELL, f'{m.MACHINE_UP}{{machine="a"}}': "1x60", f'{m.MACHINE_UP}{{machine="b"}}': "0x60",
    }, "20m", {"HashwattMachinesUnreachable": {}, "HashwattMachineDown": {"machine": "b"}}),
    Case("a machine comes back in time", {**WELL, f'{m.MACHINE_UP}{{machine="b"}}': "0x10 1x50"}, "20m", {}),
    Case("a machine that was taken away is no alarm", {
        **WELL, f'{m.MACHINE_UP}{{machine="b"}}': "0x10 stale",
    }, "20m", {}),
    Case("power without hash", {
        **WELL, f'{m.MACHINE_METER_DOUBT}{{machine="a",reason="power_without_hash"}}': "1x60",
        f'{m.MACHINE_METER_DOUBT}{{machine="b",reason="ratio"}}': "1x60",
    }, "20m", {"HashwattPowerWithoutHash": {"machine": "a", "reason": "power_without_hash"}}),
    Case("power without hash that ended in time", {
        **WELL, f'{m.MACHINE_METER_DOUBT}{{machine="a",reason="power_without_hash"}}': "1x5 stale",
    }, "20m", {}),
    Case("an outlet in the wrong line", {
        **WELL, f'{m.MACHINE_METER_DOUBT}{{machine="a",reason="hash_without_power"}}': "1x60",
    }, "10m", {"HashwattMeterIsAnothers": {"machine": "a", "reason": "hash_without_power"}}),
    Case("a breaker that carries too much for hours", {
        **WELL, f'{m.PDU_ROW_DOUBT}{{pdu="p",kind="bank",row="2",reason="near_limit"}}': "1x60",
        f'{m.PDU_DOUBT}{{pdu="p",reason="near_limit"}}': "1x60",
    }, "10m", {"HashwattBreakerNearLimit": {"pdu": "p", "kind": "bank", "row": "2", "reason": "near_limit"}}),
    Case("a breaker that is about to open is told once", {
        **WELL, f'{m.PDU_ROW_DOUBT}{{pdu="p",kind="bank",row="2",reason="near_limit"}}': "1x60",
        f'{m.PDU_ROW_DOUBT}{{pdu="p",kind="bank",row="2",reason="at_limit"}}': "1x60",
    }, "10m", {"HashwattBreakerAtLimit": {"pdu": "p", "kind": "bank", "row": "2", "reason": "at_limit"}}),
    Case("a PDU that tells the same for ever", {**WELL, f'{m.PDU_DOUBT}{{pdu="p",reason="frozen"}}': "1x60"}, "20m",
        {"HashwattPduDoubtful": {"pdu": "p", "reason": "frozen"}}),
    Case("a hot chip", {
        **WELL, f'{m.MACHINE_TEMPERATURE}{{machine="a",sensor="chip",index="2"}}': "101x60",
    }, "10m", {"HashwattMachineHot": {"machine": "a"}}),
    Case("hash that goes elsewhere", {**WELL, f'{m.MACHINE_WRONG_POOL}{{machine="a"}}': "1x60"}, "10m",
        {"HashwattWrongPool": {"machine": "a"}}),
    Case("a pool that was put right in time", {
        **WELL, f'{m.MACHINE_WRONG_POOL}{{machine="a"}}': "1x3 stale",
    }, "10m", {}),
    Case("two machines of one name", {**WELL, f'{m.MACHINE_CONFLICT}{{machine="a"}}': "1x60"}, "20m",
        {"HashwattMachineConflict": {"machine": "a"}}),
    Case("work that does not arrive; more than is claimed is a curiosity", {
        **WELL, f'{m.MACHINE_SUSPECT}{{machine="a",quantity="work"}}': "1x60",
        f'{m.MACHINE_WORK_RATIO}{{machine="a"}}': "0.4x60",
        f'{m.MACHINE_SUSPECT}{{machine="b",quantity="work"}}': "1x60",
        f'{m.MACHINE_WORK_RATIO}{{machine="b"}}': "1.6x60",
    }, "20m", {"HashwattWorkMissing": {"machine": "a", "quantity": "work"}}),
    Case("a silent PDU", {**WELL, f'{m.PDU_UP}{{pdu="p"}}': "0x60"}, "10m", {"HashwattPduDown": {"pdu": "p"}}),
    Case("a quote that grows old", {
        **WELL, f'{m.QUOTE_AS_OF}{{input="btc_usd",source="kraken"}}': "60x60",
    }, "20m", {"HashwattHashpriceStale": {"input": "btc_usd"}}),
    Case("one of two tickers is enough, and a fixed value has no age", {
        **WELL, f'{m.QUOTE_AS_OF}{{input="btc_usd",source="kraken"}}': "60x60",
        f'{m.QUOTE_AS_OF}{{input="btc_usd",source="coinbase"}}': "0+60x60",
        f'{m.QUOTE_AS_OF}{{input="btc_usd",source="fixed"}}': "0x60",
    }, "20m", {}),
    Case("no hashprice at all", {UP: "1x60", f"{m.VALID_UNTIL}": "120+60x60"}, "10m", {"HashwattHashpriceStale": {}}),
    Case("a published hashprice that is not ours", {**WELL, f"{m.HASHPRICE_ALARM}": "1x60"}, "20m",
        {"HashwattHashpriceDiffers": {}}),
    Case("a published hashprice that comes back in time, or is published no more", {
        **WELL, f"{m.HASHPRICE_ALARM}": "1x5 0x4 1x5 stale",
    }, "20m", {}),
    Case("sources that disagree", {**WELL, f'{m.INPUT_STATE}{{input="btc_usd",state="conflict"}}': "1x60"}, "10m",
        {"HashwattInputUnusable": {"input": "btc_usd", "state": "conflict"}}),
    Case("an input that nobody tells", {**WELL, f'{m.INPUT_STATE}{{input="height",state="missing"}}': "1x60"}, "10m",
        {"HashwattInputUnusable": {"input": "height", "state": "missing"}}),
    Case("an input that is too old for a while", {
        **WELL, f'{m.INPUT_STATE}{{input="difficulty",state="stale_hard"}}': "1x3 stale",
        f'{m.INPUT_STATE}{{input="difficulty",state="fresh"}}': "_x3 1x57",
    }, "20m", {}),
    Case("an input that stays too old", {
        **WELL, f'{m.INPUT_STATE}{{input="difficulty",state="stale_hard"}}': "1x60",
    }, "20m", {"HashwattInputUnusable": {"input": "difficulty", "state": "stale_hard"}}),
    Case("a day-ahead price that has ended", {
        **WELL, f'{m.TARIFF_STATE}{{tariff="hall1",source="entsoe:hall1",state="missing"}}': "1x60",
    }, "10m", {"HashwattPowerPriceUnusable": {"tariff": "hall1", "source": "entsoe:hall1", "state": "missing"}}),
    Case("leases are no longer renewed", {
        UP: "1x60", f"{m.HASHPRICE}": "31.5x60", f"{m.VALID_UNTIL}": "120x60",
    }, "10m", {"HashwattRecommendationExpired": {}}),
    Case("a long hold", {**WELL, f'{m.STATUS}{{status="hold"}}': "1x60"}, "20m", {"HashwattHold": {"status": "hold"}}),
    Case("books that nobody can write", {**WELL, f"{m.HISTORY_WRITTEN}": "0x60"}, "40m", {"HashwattHistoryStands": {}}),
    Case("a server of the history that was away for a while", {
        **WELL, f"{m.HISTORY_SERVER_OK}": "0x30 1x30",
    }, "50m", {}),
    Case("a server of the history that stays away", {
        UP: "1x99", f"{m.HASHPRICE}": "31.5x99", f"{m.VALID_UNTIL}": "120+60x99", f"{m.HISTORY_SERVER_OK}": "0x99",
    }, "80m", {"HashwattHistoryServerBehind": {}}),
    Case("a full disk", {**WELL, f"{m.STORAGE_OK}": "0x60"}, "10m", {"HashwattStorageFailed": {}}),
)  # fmt: skip


def rule_tests() -> dict[str, object]:
    """The unit tests of the rules as `promtool test rules` reads them."""
    return {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [_case(case) for case in CASES]}


def _case(case: Case) -> dict[str, object]:
    return {
        "name": case.what,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": alert.name, "exp_alerts": list(_expected(alert, case))}
            for alert in ALERTS
        ],
    }


def _expected(alert: Alert, case: Case) -> Iterator[dict[str, object]]:
    if alert.name not in case.fires:
        return
    labels = case.fires[alert.name]
    summary = alert.summary
    for name, value in labels.items():
        summary = summary.replace("{{ $labels." + name + " }}", value)
    yield {
        "exp_labels": {"severity": alert.severity, **labels},
        "exp_annotations": {"summary": summary, "action": alert.action},
    }
