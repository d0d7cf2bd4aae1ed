"""The board of the money: what each watt earns, who is under water at which price, and how sure that is.

Every number comes from a metric of the agent; the levels of prices are those of `fleet.ladder`. A machine without a
breakeven is in none of the counts: it is not known to be above a level, nor below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.panels import RUNNING, Board, Panel, stat
from exporters import metrics as m
from fleet.ladder import BTC_LEVELS_USD

HASHPRICE_LEVELS_USD_PH_DAY = (50.0, 40.0, 36.0, 34.0, 32.0, 30.0, 28.0, 26.0, 24.0, 22.0)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

OF_MODEL = f"on (machine) group_left (model) {m.MACHINE_INFO}"
LOSES = f"on (machine) ({m.MACHINE_MARGIN} < 0)"
PRICED = f"0 * count({m.MACHINE_MARGIN})"
LOSING_W = f"sum({m.MACHINE_POWER} and {RUNNING} and {LOSES}) or {PRICED}"
MERIT = f'sum by (le) ({m.MERIT}_bucket{{le!="+Inf"}})'
NOT_SILENT = f'label_replace(0 * count({m.HASHPRICE}), "part", "all is told", "", "")'
LOSERS = f"bottomk(20, {m.MACHINE_MARGIN} and {RUNNING})"
WINNERS = f"topk(20, {m.MACHINE_MARGIN} and {RUNNING})"


def _machines_above(breakeven: m.Metric, levels: Sequence[float]) -> Mapping[str, str]:
    """Machines that would lose at each level, 0 where all that have a breakeven would not."""
    known = f"0 * count({breakeven})"
    return {f"count({breakeven} > {level:.0f}) or {known}": f"{level:,.0f}" for level in levels}


def _watts_above(breakeven: m.Metric, levels: Sequence[float]) -> Mapping[str, str]:
    """What those machines draw now."""
    known = f"0 * count({breakeven})"
    return {
        f"sum({m.MACHINE_POWER} and on (machine) {breakeven} > {level:.0f}) or {known}": f"{level:,.0f}"
        for level in levels
    }


def _levels(title: str, unit: str, queries: Mapping[str, str], note: str) -> Panel:
    return Panel(title, unit, queries, "bargauge", 6, 9, note=note)


def _machines(title: str, chosen: str, note: str) -> Panel:
    """A table of chosen machines with what their margin is made of."""

    def of(metric: m.Metric) -> str:
        return f"{metric} and on (machine) {chosen}"

    return Panel(
        title,
        "currencyUSD",
        {
            chosen: "margin",
            of(m.MACHINE_MARGIN_ERROR): "error",
            of(m.MACHINE_REVENUE): "revenue",
            of(m.MACHINE_ENERGY_COST): "energy",
            of(m.MACHINE_BREAKEVEN): "USD/kWh",
            of(m.MACHINE_BREAKEVEN_HASHPRICE): "USD/PH/day",
            of(m.MACHINE_BREAKEVEN_BTC): "BTC USD",
            of(m.MACHINE_INFO): "info",
        },
        "table",
        12,
        10,
        "table",
        note,
        {"BTC USD": "none", "info": "none"},
        opens=True,
    )


_ROWS: Mapping[str, Sequence[Panel]] = {
    "Now": (
        stat("Margin per hour", "currencyUSD", f"sum({m.MACHINE_MARGIN} and {RUNNING})", note="machines that hash now"),
        stat(
            "Its error", "currencyUSD", f"sum({m.MACHINE_MARGIN_ERROR} and {RUNNING})",
            note="one standard deviation, as if all machines erred the same way: they share the hashprice",
        ),
        stat("Under water", "none", f"count({m.MACHINE_MARGIN} < 0 and {RUNNING}) or {PRICED}", note="machines"),
        stat("Watts under water", "watt", LOSING_W, note="that machines draw which hash at a loss"),
        stat(
            "Uncertain", "none", f'count({m.MACHINE_DISPATCH}{{verdict="uncertain"}}) or {PRICED}',
            note="machines whose margin is smaller than its error, or whose accepted work contradicts it",
        ),
        stat(
            "Hashprice differs", "bool_yes_no", str(m.HASHPRICE_ALARM),
            note="ours and a current published one, by more than 3 %",
        ),
    ),
    "Merit": (
        Panel(
            "Watts that hash at a loss where power costs more than",
            "watt",
            {MERIT: "all that hash", f"clamp_max({MERIT}, scalar({LOSING_W}))": "at a loss now"},
            "trend",
            12,
            9,
            "table",
            "Over the price of power in USD/kWh. The two lines part at the price of now.",
            x="le",
        ),
        Panel(
            "Breakeven power price of the fleet's watts",
            "currencyUSD",
            {
                **{
                    f"histogram_quantile({share}, sum by (le) ({m.MERIT}_bucket))": f"{share:.0%} of the watts"
                    for share in QUANTILES
                },
                str(m.POWER_PRICE): "power costs",
            },
            width=12,
            height=9,
            note="per kWh; so much of the watts earns less than this, and loses where power costs more",
        ),
    ),
    "Under water by price": (
        _levels(
            "Machines, by price of a bitcoin", "none", _machines_above(m.MACHINE_BREAKEVEN_BTC, BTC_LEVELS_USD),
            "USD; at the difficulty and reward of now",
        ),
        _levels(
            "Watts, by price of a bitcoin", "watt", _watts_above(m.MACHINE_BREAKEVEN_BTC, BTC_LEVELS_USD),
            "that those machines draw now",
        ),
        _levels(
            "Machines, by hashprice", "none",
            _machines_above(m.MACHINE_BREAKEVEN_HASHPRICE, HASHPRICE_LEVELS_USD_PH_DAY), "USD/PH/day",
        ),
        _levels(
            "Watts, by hashprice", "watt", _watts_above(m.MACHINE_BREAKEVEN_HASHPRICE, HASHPRICE_LEVELS_USD_PH_DAY),
            "that those machines draw now",
        ),
    ),
    "Margin": (
        Panel(
            "Margin per hour and its error",
            "currencyUSD",
            {
                f"sum({m.MACHINE_MARGIN} and {RUNNING})": "margin",
                f"sum({m.MACHINE_MARGIN} + {m.MACHINE_MARGIN_ERROR} and {RUNNING})": "one sigma more",
                f"sum({m.MACHINE_MARGIN} - {m.MACHINE_MARGIN_ERROR} and {RUNNING})": "one sigma less",
                f"sum({m.MACHINE_KEPT_MARGIN} and {RUNNING})": "kept after the host's share",
            },
            note="machines that hash",
        ),
        Panel(
            "Margin per hour by model",
            "currencyUSD",
            {f"sum by (model) (({m.MACHINE_MARGIN} and {RUNNING}) * {OF_MODEL})": "{{model}}"},
        ),
        Panel(
            "Machines by what their margin says",
            "none",
            {f"count by (verdict) ({m.MACHINE_DISPATCH})": "{{verdict}}"},
            note="no advice: hysteresis, ramps and rules come after it",
        ),
        Panel(
            "Revenue per hour by hashrate and by accepted work",
            "currencyUSD",
            {
                f"sum({m.MACHINE_REVENUE} and on (machine) {m.MACHINE_ACCEPTED_REVENUE})": "by hashrate",
                f"sum({m.MACHINE_ACCEPTED_REVENUE} and on (machine) {m.MACHINE_REVENUE})": "by accepted work",
            },
            note="machines whose pool has accepted enough to tell",
        ),
        Panel(
            "Machines under water",
            "none",
            {f"count({m.MACHINE_MARGIN} < 0 and {RUNNING}) or {PRICED}": "hash at a loss"},
        ),
        Panel("Watts under water", "watt", {LOSING_W: "hash at a loss"}),
        _machines("Who loses most", LOSERS, "per hour, of the machines that hash"),
        _machines("Who earns most", WINNERS, "per hour, of the machines that hash"),
    ),
    "Hashprice": (
        Panel(
            "Hashprice per PH and day",
            "currencyUSD",
            {str(m.HASHPRICE): "computed", str(m.PUBLISHED): "published by {{source}}, {{state}}"},
            note="the published one is compared with ours and never used",
        ),
        Panel(
            "Computed over published, less one",
            "percentunit",
            {str(m.PUBLISHED_DIFFERENCE): "difference"},
            note="an alarm above 3 % either way; no new machine is stopped then",
        ),
        Panel("Bitcoin", "currencyUSD", {str(m.BTC_USD): "used, mean of five minutes", str(m.BTC_USD_RAW): "of now"}),
        Panel(
            "Inputs by state",
            "none",
            {f"count by (state) ({m.INPUT_STATE})": "{{state}}"},
            note="missing, stale_hard and conflict hold all advice up, stale_soft every new stop",
        ),
        Panel(
            "State of each input",
            "none",
            {str(m.INPUT_STATE): "since"},
            "table",
            format="table",
            note="1 stands beside the state that holds",
        ),
        Panel("Age of the quotes in use", "s", {f"time() - {m.QUOTE_AS_OF}": "{{input}} {{source}}"}),
    ),
    "Outlook": (
        stat("Next retarget", "s", f"{m.RETARGET_AT} - time()", width=5),
        stat("Blocks until then", "none", str(m.RETARGET_BLOCKS)),
        stat("Difficulty is to change by", "percentunit", str(m.NEXT_CHANGE), width=5),
        stat("Hashprice then", "currencyUSD", str(m.NEXT_HASHPRICE), width=5, note="per PH and day, at today's price"),
        stat(
            "Not told", "none", f"{m.OUTLOOK_SILENT} or {NOT_SILENT}", "{{part}} {{reason}}", 5,
            "which part of the outlook, and why",
        ),
        Panel(
            "Change of difficulty, forecast",
            "percentunit",
            {
                str(m.NEXT_CHANGE): "change",
                f"{m.NEXT_CHANGE} + {m.NEXT_CHANGE_STDDEV}": "one sigma more",
                f"{m.NEXT_CHANGE} - {m.NEXT_CHANGE_STDDEV}": "one sigma less",
            },
            note="silent in the first 504 blocks of an epoch",
        ),
        Panel(
            "Hashprice behind the retarget",
            "currencyUSD",
            {
                str(m.HASHPRICE): "now",
                str(m.NEXT_HASHPRICE): "then",
                f"{m.NEXT_HASHPRICE} + {m.NEXT_HASHPRICE_STDDEV}": "one sigma more",
                f"{m.NEXT_HASHPRICE} - {m.NEXT_HASHPRICE_STDDEV}": "one sigma less",
            },
        ),
        Panel(
            "Network hashrate",
            "percentunit",
            {str(m.DRAWDOWN): "below its peak of a year", str(m.DIFFICULTY_LAG): "above what difficulty implies"},
        ),
    ),
    "Power": (
        Panel("Power price per kWh by tariff", "currencyUSD", {str(m.TARIFF_PRICE): "{{tariff}}"}, width=12),
        stat("State of the prices", "none", str(m.TARIFF_STATE), "{{tariff}}: {{source}}, {{state}}", 12),
    ),
    "Presets": (
        stat(
            "Machines that list presets", "none", f"count({m.MACHINE_PRESET_GAIN})", width=6,
            note="their firmware tells which watts give which hash",
        ),
        stat(
            "Gain per hour", "currencyUSD", f"sum({m.MACHINE_PRESET_GAIN})", width=6,
            note="if each of them ran the preset that earns most; no advice",
        ),
        Panel(
            "Highest gains per hour by another preset",
            "currencyUSD",
            {
                f"topk(20, {m.MACHINE_PRESET_GAIN})": "gain",
                f"{m.MACHINE_PRESET_POWER} and on (machine) topk(20, {m.MACHINE_PRESET_GAIN})": "best at",
                f"{m.MACHINE_MARGINAL} and on (machine) topk(20, {m.MACHINE_PRESET_GAIN})": "last step now",
            },
            "table",
            12,
            8,
            "table",
            "joules per terahash of the last step; a step that costs more than it earns should be given up",
            {"best at": "watt", "last step now": "suffix: J/TH"},
            opens=True,
        ),
    ),
    "Worth": (
        stat("Found", "s", f"time() - {m.APPRAISED_AT}", note="so long ago; it is found anew every 10 minutes"),
        stat("Kept, they are worth", "currencyUSD", f"sum({m.MACHINE_KEEP_VALUE})", width=5),
        stat("Sold, they would fetch", "currencyUSD", f"sum({m.MACHINE_RESALE})", width=5),
        Panel(
            "Machines by what their place is worth", "none",
            {f"count by (verdict) ({m.MACHINE_RETIRE})": "{{verdict}}"}, width=10, height=8,
            note="a question of months by the operator's words; it turns nothing",
        ),
        Panel(
            "What a kWh of a feeder earns, and could", "currencyUSD",
            {str(m.FEEDER_MINING): "{{feeder}} by hash", str(m.FEEDER_ALTERNATIVE): "{{feeder}} elsewhere"},
            width=12, height=8, note="before power is paid",
        ),
        Panel(
            "Watts of a feeder that earn less than elsewhere", "watt",
            {str(m.FEEDER_BELOW): "{{feeder}}"}, "bargauge", 6, 8,
        ),
        Panel(
            "Feeders", "watt",
            {str(m.FEEDER_POWER): "power", str(m.FEEDER_UNPRICED): "not priced"}, "table", 6, 8, "table",
            units={"not priced": "none"},
        ),
        Panel(
            "Who is worth least in its place", "currencyUSD",
            {
                f"bottomk(20, {m.MACHINE_KEEP_VALUE} - {m.MACHINE_RESALE})": "kept less sold",
                f"{m.MACHINE_KEEP_ERROR} and on (machine) bottomk(20, {m.MACHINE_KEEP_VALUE} - {m.MACHINE_RESALE})":
                    "error",
            },
            "table", 24, 8, "table", opens=True,
        ),
    ),
}  # fmt: skip

BOARD = Board("hashwatt-profitability", "Hashwatt profitability", _ROWS, "now-24h")
