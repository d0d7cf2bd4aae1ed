"""The board of the whole farm: what is up, what it draws and earns, and what is advised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.panels import FARM_UID, RATE, RUNNING, Board, Panel, late, stat
from exporters import metrics as m

POWERED = f"on (machine) {m.MACHINE_POWER}"
SOURCED = f"on (machine) group_left (source) {m.MACHINE_POWER_SOURCE}"
NO_FAULT = f'label_replace(0 * count({m.MACHINE_UP}), "kind", "none", "", "")'
ALL_PRICED = f'label_replace(0 * count({m.MACHINE_UP}), "reason", "none", "", "")'
ADVISED = f"on (machine) group_left (action) {m.MACHINE_RECOMMENDED}"
CHOSEN = '{machine=~"$machine"}'
OF_MODEL = f"on (machine) group_left (model) {m.MACHINE_INFO}"
NO_DOUBT = f'label_replace(0 * count({m.MACHINE_UP}), "reason", "none", "", "")'
NO_RATING = f'label_replace(0 * count({m.PDU_UP}), "pdu", "no rating is known", "", "")'
NO_PDU_DOUBT = f'label_replace(0 * count({m.PDU_UP}), "reason", "none", "", "")'

_ROWS: Mapping[str, Sequence[Panel]] = {
    "Site": (
        stat("Machines up", "none", f"sum({m.MACHINE_UP})"),
        stat("Machines", "none", f"count({m.MACHINE_UP})", note="polled at least once"),
        stat("Hashrate", "Hs", f"sum({m.MACHINE_HASHRATE})"),
        stat("Power", "watt", f"sum({m.MACHINE_POWER})", note="by the best source of each machine"),
        stat(
            "Efficiency",
            "suffix: J/TH",
            f"1e12 * sum({m.MACHINE_POWER} and {RUNNING}) / sum({m.MACHINE_HASHRATE} and {POWERED})",
        ),
        stat("Margin per hour", "currencyUSD", f"sum({m.MACHINE_MARGIN} and {RUNNING})", note="machines that hash now"),
        Panel(
            "Hashrate",
            "Hs",
            {
                f"sum({m.MACHINE_HASHRATE})": "hashing",
                f"sum({m.MACHINE_EXPECTED_HASHRATE})": "expected by the machines",
                f"2^32 * sum(rate({m.MACHINE_DIFFICULTY_ACCEPTED}{RATE}))": "accepted by the pools",
            },
        ),
        Panel("Power by source", "watt", {f"sum by (source) ({m.MACHINE_POWER} * {SOURCED})": "{{source}}"}),
        Panel("Power by PDU", "watt", {f"topk(20, {m.PDU_POWER})": "{{pdu}}"}),
    ),
    "Economics": (
        stat("Hashprice per PH and day", "currencyUSD", str(m.HASHPRICE), width=6),
        stat("Power price per kWh", "currencyUSD", str(m.POWER_PRICE), width=6),
        stat("Bitcoin", "currencyUSD", str(m.BTC_USD), width=6),
        stat("Network difficulty", "short", str(m.DIFFICULTY), width=6),
        Panel(
            "Revenue and energy cost per hour",
            "currencyUSD",
            {
                f"sum({m.MACHINE_REVENUE} and {RUNNING})": "revenue",
                f"sum({m.MACHINE_ENERGY_COST} and {RUNNING})": "energy",
            },
        ),
        Panel("Hashprice per PH and day", "currencyUSD", {str(m.HASHPRICE): "hashprice"}),
        Panel("Age of the quotes in use", "s", {f"time() - {m.QUOTE_AS_OF}": "{{input}} {{source}}"}),
        Panel(
            "Watts by breakeven power price",
            "watt",
            {f"sum by (le) ({m.MERIT}_bucket)": "{{le}}"},
            "bargauge",
            12,
            8,
            "heatmap",
            "the bars left of the power price run at a loss",
        ),
        Panel(
            "Lowest margins per hour",
            "currencyUSD",
            {f"bottomk(20, {m.MACHINE_MARGIN})": "margin"},
            "table",
            12,
            8,
            "table",
        ),
    ),
    "Machines": (
        Panel(
            "Machines",
            "none",
            {
                f"{m.MACHINE_UP}{CHOSEN}": "up",
                f"{m.MACHINE_HASHRATE}{CHOSEN}": "hashrate",
                f"{m.MACHINE_POWER}{CHOSEN}": "power",
                f'max by (machine) ({m.MACHINE_TEMPERATURE}{{machine=~"$machine"}})': "hottest",
                f"{m.MACHINE_MARGIN}{CHOSEN}": "margin",
                f"{m.MACHINE_BREAKEVEN}{CHOSEN}": "breakeven",
                f"{m.MACHINE_INFO}{CHOSEN}": "info",
            },
            "table",
            24,
            9,
            "table",
        ),
        Panel("Machines down by fault", "none", {f"count by (kind) ({m.MACHINE_FAULT}) or {NO_FAULT}": "{{kind}}"}),
        Panel(
            "Chips and boards",
            "celsius",
            {f'max by (machine, sensor) ({m.MACHINE_TEMPERATURE}{{sensor=~"chip|board"}})': "{{sensor}}"},
            "histogram",
        ),
        Panel("Machines by state", "none", {f"count by (state) ({m.MACHINE_STATE})": "{{state}}"}),
        Panel(
            "Machines without a margin by reason",
            "none",
            {f"count by (reason) ({m.MACHINE_UNPRICED}) or {ALL_PRICED}": "{{reason}}"},
        ),
        Panel("Seconds since the last reading", "s", {f"topk(20, time() - {m.MACHINE_LAST_SEEN})": "{{machine}}"}),
        Panel("Hashrate of $machine", "Hs", {f"topk(20, {m.MACHINE_HASHRATE}{CHOSEN})": "{{machine}}"}),
        Panel(
            "Power of $machine",
            "watt",
            {
                f"topk(20, {m.MACHINE_POWER}{CHOSEN})": "{{machine}} used",
                f"topk(20, {m.MACHINE_REPORTED_POWER}{CHOSEN})": "{{machine}} reported",
            },
        ),
        Panel(
            "Margin of $machine per hour", "currencyUSD", {f"bottomk(20, {m.MACHINE_MARGIN}{CHOSEN})": "{{machine}}"}
        ),
    ),
    "Wall power": (
        stat("Metered", "watt", f"sum({m.MACHINE_METERED_POWER})", note="machines with a meter of their own"),
        stat("Their own word", "watt", f"sum({m.MACHINE_REPORTED_POWER} and on (machine) {m.MACHINE_METERED_POWER})"),
        stat(
            "Metered over reported",
            "percentunit",
            f"sum({m.MACHINE_METERED_POWER} and on (machine) {m.MACHINE_REPORTED_POWER})"
            f" / sum({m.MACHINE_REPORTED_POWER} and on (machine) {m.MACHINE_METERED_POWER})",
            note="what firmware is off by, for machines that have both",
        ),
        stat("Machines by source", "none", f"count by (source) ({m.MACHINE_POWER_SOURCE})", "{{source}}", 12),
        Panel(
            "Metered and reported power of $machine",
            "watt",
            {
                f"topk(20, {m.MACHINE_METERED_POWER}{CHOSEN})": "{{machine}} metered",
                f"topk(20, {m.MACHINE_REPORTED_POWER}{CHOSEN})": "{{machine}} reported",
            },
        ),
        Panel(
            "Calibration by model",
            "percentunit",
            {
                f"avg by (model) ({m.MACHINE_CALIBRATION} * {OF_MODEL})": "{{model}}",
                f"max by (model) ({m.MACHINE_CALIBRATION_SPREAD} * {OF_MODEL})": "{{model}} spread",
            },
            note="metered over reported watts as learned",
        ),
        Panel(
            "Load of breakers and lines",
            "percentunit",
            {f"topk(20, {m.PDU_CURRENT} / ({m.PDU_CURRENT_LIMIT} > 0)) or {NO_RATING}": "{{pdu}} {{kind}} {{row}}"},
            note="above 80 % is too much for hours",
        ),
        Panel("Current of phases", "amp", {f'topk(30, {m.PDU_CURRENT}{{kind=~"phase|line"}})': "{{pdu}} {{row}}"}),
        Panel(
            "Machines whose meter is doubted",
            "none",
            {f"count by (reason) ({m.MACHINE_METER_DOUBT}) or {NO_DOUBT}": "{{reason}}"},
        ),
        Panel("PDUs to look at", "none", {f"count by (reason) ({m.PDU_DOUBT}) or {NO_PDU_DOUBT}": "{{reason}}"}),
        Panel(
            "PDUs",
            "none",
            {
                str(m.PDU_UP): "up",
                str(m.PDU_POWER): "power",
                str(m.PDU_WARNINGS): "warnings",
                str(m.PDU_INFO): "info",
            },
            "table",
            12,
            8,
            "table",
        ),
        Panel(
            "Outlets of $machine",
            "none",
            {f'{m.OUTLET_INFO}{{machine=~"$machine",machine!=""}} or {m.PDU_ROW_INFO}{CHOSEN}': "outlet"},
            "table",
            12,
            8,
            "table",
        ),
    ),
    "Recommendation": (
        stat("Status", "none", str(m.STATUS), "{{status}}", 6),
        stat("Mode", "none", str(m.MODE), "{{mode}}", 6),
        stat("Lease ends in", "s", f"{m.VALID_UNTIL} - time()", width=6, note="below 0 there is no recommendation"),
        stat("Power to give up", "watt", str(m.SHED), width=6),
        Panel("Machines by advice", "none", {f"count by (action) ({m.MACHINE_RECOMMENDED})": "{{action}}"}, width=12),
        Panel(
            "Advice of the machines with the lowest margin",
            "currencyUSD",
            {f"bottomk(20, {m.MACHINE_MARGIN} * {ADVISED})": "margin"},
            "table",
            12,
            7,
            "table",
        ),
    ),
    "Agent": (
        Panel("Polls per second by outcome", "reqps", {f"sum by (outcome) (rate({m.POLLS}{RATE}))": "{{outcome}}"}),
        Panel("Poll duration, 99th percentile", "s", {late("driver", m.POLL_DURATION): "{{driver}}"}),
        Panel("Poll lag, 99th percentile", "s", {late("driver", m.POLL_LAG): "{{driver}}"}),
        Panel("Cycle duration, 99th percentile", "s", {late("job", m.CYCLE_DURATION): "cycle"}),
        Panel("CPU", "percentunit", {f"rate({m.AGENT_CPU}{RATE})": "{{process}}"}),
        Panel("Resident memory", "bytes", {str(m.AGENT_MEMORY): "{{process}}"}),
        stat("PDUs up", "none", f"sum({m.PDU_UP})"),
        stat("MQTT connected", "bool_yes_no", str(m.MQTT_CONNECTED)),
        stat("Journal written", "bool_yes_no", str(m.STORAGE_OK)),
        stat("History written", "s", f"time() - {m.HISTORY_WRITTEN}", note="so long ago"),
        stat("History on disk", "bytes", str(m.HISTORY_SIZE)),
        stat("History server written", "bool_yes_no", str(m.HISTORY_SERVER_OK), note="where one is configured"),
        stat("Rows that it has not got", "none", str(m.HISTORY_BEHIND)),
        stat("Clock trusted", "bool_yes_no", str(m.CLOCK_TRUSTED)),
        stat("Workers replaced in 1 h", "none", f"sum(increase({m.WORKER_RESTARTS}[1h])) or 0 * sum({m.CYCLES})"),
        stat("Failed sinks in 1 h", "none", f"sum(increase({m.SINK_ERRORS}[1h])) or 0 * sum({m.CYCLES})"),
    ),
}

BOARD = Board(FARM_UID, "Hashwatt", _ROWS)
