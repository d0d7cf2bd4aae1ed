"""The console view of a running agent: what `/status.json` says, drawn for a person.

`frame` is pure: a document, the time and the size in, a renderable out. `watch` fetches and draws. A number that is
not known is a dash, never 0, and whatever can be old shows its age, also while the agent does not answer. Texts that
may come from a device are drawn as plain text: no markup, no control characters.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agent.running import BESIDE, Unreachable, ask
from fleet.naming import full_model

Document = Mapping[str, Any]

DASH = "–"
REFRESH_S = 2.0
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
OLD_S = 60.0

STYLES = {
    "ok": "bold green", "degraded": "bold yellow", "hold": "bold red", "disabled": "bold magenta",
    "run": "green", "stop": "red", "preset": "cyan",
    "stale_soft": "yellow", "stale_hard": "red", "missing": "red", "conflict": "red",
}  # fmt: skip


def watch(
    url: str,
    once: bool = False,
    until: threading.Event | None = None,
    console: Console | None = None,
    also: str = "",
) -> int:
    """Show the agent at `url`: one picture and an exit code, or a live view until Ctrl-C or until `until` is set.

    `also` is what else the last line of the live view shall say, which hides what was printed before it.

    Returns 0, or 1 where `once` found no agent. The live view outlasts an agent that stops answering.
    """
    console = console or Console()
    if once:
        return _show_status(url, console)
    stop = until or threading.Event()
    try:
        if console.is_terminal:
            _live(url, console, stop, also)
        else:
            while not stop.is_set():
                _show_status(url, console)
                stop.wait(5 * REFRESH_S)
    except KeyboardInterrupt:
        pass  # the usual way to leave
    return 0


def _show_status(url: str, console: Console) -> int:
    try:
        document = fetch(url)
    except Unreachable as error:
        console.print(_trouble(url, error))
        return 1
    console.print(frame(document, time.time(), height=10_000, width=console.width))
    return 0


def _live(url: str, console: Console, stop: threading.Event, also: str) -> None:
    document: Document | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not stop.is_set():
            trouble: Text | None = None
            try:
                document = fetch(url)
            except Unreachable as error:
                trouble = _trouble(url, error, " Trying again every 2 seconds; Ctrl-C ends.")
            pages = (url,) if url.startswith(BESIDE) else (f"{url}/", "/metrics")
            told = "   ".join(filter(None, (*pages, "Ctrl-C ends", also)))
            footer = trouble or Text(told, style="dim", no_wrap=True, overflow="ellipsis")
            size = console.size
            body = Text("") if document is None else frame(document, time.time(), size.height - 1, size.width)
            live.update(Group(body, footer), refresh=True)
            stop.wait(REFRESH_S)


def _trouble(url: str, error: Unreachable, advice: str = "") -> Text:
    return Text(f"No status from the agent at {_plain(url)}: {_plain(str(error))}.{advice}", style="bold red")


def fetch(url: str) -> Document:
    """The status of the agent at `url`. Errors: Unreachable, whatever the other side does."""
    body = ask(url, "status.json", MAX_DOCUMENT_BYTES)
    try:
        document = json.loads(body)
        if document:
            frame(document, 0.0)  # what cannot be drawn is no status
    except Exception as error:  # noqa: BLE001 - any bytes may come back from a port that is not ours
        raise Unreachable(f"its answer is no status ({type(error).__name__})") from None
    if not document:
        raise Unreachable("it has not finished its first look")
    return document  # type: ignore[no-any-return]


# --- the picture -----------------------------------------------------------------------------------------------------


def frame(document: Document, now_s: float, height: int = 24, width: int = 80) -> RenderableType:
    """The whole status in at most `height` lines: totals, market, advice, faults, and the machines nearest to zero.

    Below 100 columns the table leaves out the models, so that names and reasons stay readable.

    Errors: KeyError, TypeError, ValueError where `document` is no status document.
    """
    lines = [
        _title(document, now_s),
        *_fleet_lines(document["fleet"]),
        *_market_lines(document["market"]),
        *_alarm_lines(document),
        *_feed_lines(document, now_s),
        *_advice_lines(document["recommendation"], now_s),
        *worth_lines(document.get("worth")),
        _fault_line(document["faults"]),
        *_trouble_lines(document),
    ]
    used = sum(-(-line.cell_len // max(width - LONGEST_WORD, 1)) if not line.no_wrap else 1 for line in lines)
    machines = document["marginal"][: max(0, height - used - 2)]
    rule = Rule(Text("machines nearest to zero margin"), style="dim", align="left")
    return Group(*lines, rule, machine_table(machines, with_model=width >= 100))


def _title(document: Document, now_s: float) -> Text:
    age_s = _age_s(document["at"], now_s)
    line = _line(("Hashwatt  ", "bold"), (_plain(document["site"]), "bold cyan"), f"  {_clock(document['at'])}")
    line.append(f"  {age(age_s)} ago", "red" if not age_s < OLD_S else "dim")
    line.append(f"   PDUs {document['pdus']['up']} of {document['pdus']['count']} up")
    if doubts := document["pdus"].get("faults", {}) | document["pdus"].get("doubts", {}):
        told = ", ".join(f"{_plain(doubt).replace('_', ' ')} {count}" for doubt, count in doubts.items())
        line.append(f" ({told})", "yellow")
    return line


def _fleet_lines(fleet: Document) -> Iterable[Text]:
    shares = fleet["power_w_by_source"]
    total = sum(shares.values())
    sources = ", ".join(f"{share / total:.0%} {_plain(name)}" for name, share in shares.items()) if total > 0 else ""
    yield _line(
        _label("fleet"),
        f"{fleet['machines']} machines: {fleet['up']} up, {fleet['down']} down, {fleet['running']} running   margin ",
        (money(fleet["margin_usd_h"], 2), _sign_style(fleet["margin_usd_h"])),
        " USD/h",
    )
    yield _line(
        _label(""),
        hashrate(fleet["hashrate_hs"]) + _covered(fleet["hashrate_of"], fleet["machines"]),
        "   " + power(fleet["power_w"]) + _covered(fleet["power_of"], fleet["machines"]),
        (f" {sources}", "dim"),
    )


def _covered(count: int, of: int) -> str:
    """How many machines a sum stands for, where it is not all of them."""
    return "" if count == of else f" ({count} of {of})"


def _market_lines(market: Document) -> Iterable[Text]:
    inputs = market["inputs"]
    yield _line(
        _label("market"),
        ("hashprice ", "bold"),
        (_fixed(market["hashprice_usd_ph_day"], 2), "bold"),
        " USD/PH/day   power ",
        (_fixed(market["power_usd_kwh"], 4), "bold"),
        f" USD/kWh ({_plain(market['power_source']) or 'no source'})",
    )
    line = _line(_label(""))
    for i, (name, shown) in enumerate((("btc_usd", "BTC"), ("difficulty", "difficulty"), ("block_fees_btc", "fees"))):
        line.append_text(_input(shown, inputs.get(name), ", " if i else ""))
    yield line
    yield from _published_lines(market.get("published"))
    yield from _outlook_lines(market.get("outlook") or {})


def _published_lines(published: Document | None) -> Iterable[Text]:
    """The hashprice that others publish, beside which ours stands; no line where nobody does."""
    if published is None:
        return
    difference = published["difference"]
    yield _line(
        _label(""),
        f"published {_fixed(published['usd_ph_day'], 2)} USD/PH/day ",
        (f"({age(published['age_s'])}, {_plain(published['source'])})", STYLES.get(published["state"], "dim")),
        ("" if difference is None else f", ours is {difference:+.1%}", "bold red" if published["alarm"] else ""),
    )


def _alarm_lines(document: Document) -> Iterable[Text]:
    """What is wrong with the prices that everything rests on; no line where all is well."""
    if told := document.get("alarms"):
        yield _line(("alarm   ", "bold red"), ("; ".join(map(_plain, told)), "bold red"))


FEEDS_SHOWN = 5
LONGEST_WORD = 24
"""Columns that a wrapped line may leave empty, for a word that does not fit any more."""


def _feed_lines(document: Document, now_s: float, most: int = FEEDS_SHOWN) -> Iterable[Text]:
    """Each feed that fails: how, since when, and what holds meanwhile; wrapped, because every word of it is needed."""
    rows = document.get("failing_feeds") or ()
    for row in rows[:most]:
        place = f" ({_plain(row['at'])})" if row["at"] else ""
        since = f", since {_clock(row['since'])} ({age(_age_s(row['since'], now_s))})" if row["since"] else ""
        yield Text.assemble(
            _label("feed"), f"{_plain(row['feed'])}{place}: ", (_plain(row["how"]), "red"), f"{since}; meanwhile ",
            _plain(row["meanwhile"]), no_wrap=False,
        )  # fmt: skip
    if (more := len(rows) - most) > 0:
        yield _line(_label(""), (f"and {more} more feeds: see the status page", "dim"))


def _outlook_lines(outlook: Document) -> Iterable[Text]:
    """What the next retarget is expected to bring; no line while that is not told."""
    change = outlook.get("change_ratio")
    if change is None:
        return
    line = _line(
        _label(""),
        f"retarget {change:+.1%} ± {outlook['change_sigma_ratio']:.1%} in {age(outlook['retarget_in_s'])}"
        f" ({outlook['blocks_left']} blocks)",
    )
    if (hashprice := outlook["hashprice_usd_ph_day"]) is not None:
        line.append(f", then {hashprice:.2f} ± {outlook['hashprice_sigma_usd_ph_day']:.2f} USD/PH/day")
    yield line


def _input(name: str, quote: Document | None, lead: str) -> Text:
    if quote is None:
        return _line(f"{lead}{name} {DASH}")
    value = quote["value"]
    shown = DASH if value is None else f"{value / 1e12:.2f}T" if value >= 1e12 else f"{value:,.4g}"
    if value is not None and 1e3 <= value < 1e12:
        shown = f"{value:,.0f}"
    sources = "+".join(dict.fromkeys(map(_plain, quote["sources"]))) or "no source"
    return _line(f"{lead}{name} {shown} ", (f"({age(quote['age_s'])}, {sources})", STYLES.get(quote["state"], "dim")))


def _advice_lines(advice: Document, now_s: float) -> Iterable[Text]:
    status, left_s = str(advice["status"]), -_age_s(advice.get("valid_until"), now_s)
    line = _line(_label("advice"), (status.upper(), STYLES.get(status, "bold")), f" {_plain(advice['mode'])}  ")
    if math.isnan(left_s):
        line.append("no lease", "dim")
    else:
        line.append(f"valid {left_s:.0f} s" if left_s > 0 else "expired", "" if left_s > 0 else "bold red")
    line.append("   ")
    for action, count in advice["actions"].items():
        if count:
            line.append(f"{_plain(action)} {count}  ", STYLES.get(action, ""))
    yield line
    reasons = ", ".join(map(_plain, advice["status_reasons"]))
    because = (f"   because {reasons}", STYLES.get(status, "")) if reasons else ""
    yield _line(_label(""), f"shed {power(advice['shed_w'])}", because)


def worth_lines(worth: Document | None) -> Iterable[Text]:
    """How many machines are not worth their place, and how much power would earn more elsewhere, where that is told."""
    label = "worth"
    if worth and (verdicts := worth["verdicts"]):
        count = verdicts.get("retire", 0)
        told = f"{count} machine{' is' if count == 1 else 's are'} not worth {'its' if count == 1 else 'their'} place"
        rest = [f"{verdicts.get('keep', 0)} are", f"{verdicts.get('uncertain', 0)} uncertain"]
        rest += [f"{worth['unknown']} not judged"] if worth["unknown"] else []
        yield _line(_label(label), (told, "yellow" if count else ""), (f"   {', '.join(rest)}", "dim"))
        label = ""
    if worth and worth["below_alternative_w"] is not None:
        count = worth["below_alternative_feeders"]
        where = f"on {count} feeder{'s' * (count != 1)}" if count else "on any feeder"
        watts = power(worth["below_alternative_w"]) if count else "nothing"
        yield _line(_label(label), f"{watts} earns less than the alternative {where}")


def _fault_line(faults: Document) -> Text:
    if not faults:
        return _line(_label("faults"), ("none", "dim"))
    return _line(_label("faults"), (", ".join(f"{_plain(kind)} {count}" for kind, count in faults.items()), "yellow"))


TROUBLES_SHOWN = 3


def _trouble_lines(document: Document) -> Iterable[Text]:
    """Why machines have no margin, and the first of those that somebody should look at; nothing where all is well."""
    if unpriced := document.get("unpriced"):
        counts = ", ".join(f"{_plain(reason)} {count}" for reason, count in unpriced.items())
        yield _line(_label("margin"), "missing: ", (counts, "yellow"))
    troubled = [(_plain(machine["id"]), "; ".join(_troubles(machine))) for machine in document.get("troubled", ())]
    pdus = ((_plain(pdu["id"]), _pdu_troubles(pdu)) for pdu in document["pdus"].get("troubled", ()))
    troubled += ((f"PDU {name}", words) for name, words in pdus if words)
    for i, (name, words) in enumerate(troubled[:TROUBLES_SHOWN]):
        yield _line(_label("" if i else "look at"), f"{name}  ", (words, "yellow"))
    if (more := len(troubled) - TROUBLES_SHOWN) > 0:
        yield _line(_label(""), (f"and {more} more: see the status page", "dim"))


METER_DOUBTS_TOLD = {
    "power_without_hash": "it draws power without hashing",
    "hash_without_power": "dark while it hashes, the outlet may be another's",
    "ratio": "unlike its own watts",
    "contested": "contested, inventory and outlet names disagree",
    "replaced": "the PDU has another serial number",
    "excess": "shows more than it can draw, others may hang there too",
}


def _troubles(machine: Document) -> Iterable[str]:
    """One machine's troubles in words, the gravest first."""
    if machine["wrong_pool"]:
        yield f"works for {_plain(machine['wrong_pool'])}"
    if machine["conflict_with"]:
        yield f"its name also answers at {_plain(machine['conflict_with'])}"
    if machine["suspect"]:
        yield f"doubtful {', '.join(map(_plain, machine['suspect']))}"
    if doubts := machine.get("meter_doubt"):
        yield f"its meter: {', '.join(METER_DOUBTS_TOLD.get(doubt) or _plain(doubt) for doubt in doubts)}"
    yield from map(_plain, machine["errors"])


def _pdu_troubles(pdu: Document) -> str:
    """Why somebody should look at a PDU; empty where its last reply only left something out."""
    fault = [_plain(pdu["fault"])] if pdu["fault"] else []
    return ", ".join((*fault, *(_plain(doubt).replace("_", " ") for doubt in pdu["doubts"])))


def machine_table(machines: Iterable[Document], with_model: bool) -> Table:
    """One line per machine, cut to the width rather than wrapped."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("machine", no_wrap=True, overflow="ellipsis", ratio=3, min_width=10)
    if with_model:
        table.add_column("model", no_wrap=True, overflow="ellipsis", ratio=3, min_width=8)
    table.add_column("power", no_wrap=True, justify="right", min_width=7)
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=10, style="dim")
    table.add_column("USD/h", no_wrap=True, justify="right", min_width=7)
    table.add_column("breakeven", no_wrap=True, justify="right", min_width=9)
    table.add_column("do", no_wrap=True, min_width=4)
    table.add_column("because", no_wrap=True, overflow="ellipsis", ratio=3, min_width=15)
    for machine in machines:
        why = machine["reasons"] or ([machine["fault"]] if machine["fault"] else [])
        action = str(machine["action"])
        table.add_row(
            Text(_plain(machine["id"])),
            *([Text(_model(machine))] if with_model else []),
            Text(power(machine["power_w"])),
            Text(_plain(machine["power_source"])),
            Text(money(machine["margin_usd_h"]), _sign_style(machine["margin_usd_h"])),
            Text(_fixed(machine["breakeven_usd_kwh"], 4)),
            Text(_plain(action), STYLES.get(action, "")),
            Text(", ".join(map(_plain, why))),
        )
    return table


def _model(machine: Document) -> str:
    return _plain(full_model(machine.get("make") or "", machine["model"] or "")) or DASH


ONCE_COLUMNS = (
    "machine", "address", "model", "hashrate", "power", "source", "hottest", "USD/h", "breakeven", "do", "because",
)  # fmt: skip
ONLY_WIDE = ("address", "model", "hottest")
WIDE_ENOUGH = 120
WIDE = 160


def show_once(document: Document, console: Console | None = None) -> None:
    """One round of polls as tables: every machine, every PDU, the market and the recommendation."""
    # a file or a pipe has no width of its own: there, nothing is cut
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(_line((f"{_plain(document['site'])}  ", "bold cyan"), _clock(document["at"])))
    shown = [name for name in ONCE_COLUMNS if console.width >= WIDE_ENOUGH or name not in ONLY_WIDE]
    machines = Table(box=None, pad_edge=False, header_style="dim")
    for name in shown:
        right = name in ("hashrate", "power", "hottest", "USD/h", "breakeven")
        machines.add_column(name, no_wrap=name not in ("because", "model"), justify="right" if right else "left")
    for machine in document["machines"]:
        cells = dict(zip(ONCE_COLUMNS, _once_cells(machine), strict=True))
        machines.add_row(*(Text(cells[name]) for name in shown))
    console.print(machines)
    for pdu in document["pdus"]:
        state = "up" if pdu["up"] else _plain(pdu["fault"]) or "never answered"
        if pdu["fault"] == "unsupported":
            state = f"unsupported: no profile knows it, `hashwatt probe {_plain(pdu['id'])} --pdu` says what to do"
        told = f"{_plain(pdu['id'])}  {state}  {power(pdu['power_w'])}  {len(pdu['outlets'])} outlets"
        doubts = ", ".join(_plain(doubt).replace("_", " ") for doubt in pdu.get("doubts", ()))
        console.print(_line(_label("PDU"), told, (f"  {doubts}" if doubts else "", "yellow")))
    advice = _advice_lines(document["recommendation"], 0.0)
    feeds = _feed_lines(document, datetime.fromisoformat(document["at"]).timestamp(), most=1000)
    for line in (*_market_lines(document["market"]), *feeds, *advice, *worth_lines(document.get("worth"))):
        console.print(line, soft_wrap=not (line.no_wrap or console.is_terminal))


def _once_cells(machine: Document) -> Iterable[str]:
    temperatures = machine["temperature_c"].values()
    yield _plain(machine["id"]) + (" (provisional)" if machine.get("provisional") else "")
    yield _plain(machine["ip"]) or DASH
    yield _model(machine)
    yield hashrate(machine["hashrate_hs"])
    yield power(machine["power_w"])
    yield _plain(machine["power_source"])
    yield f"{max(temperatures):.0f} °C" if temperatures else DASH
    yield money(machine["margin_usd_h"])
    yield _fixed(machine["breakeven_usd_kwh"], 4)
    yield _plain(machine["action"])
    yield ", ".join(map(_plain, [machine["fault"], *machine["reasons"]] if machine["fault"] else machine["reasons"]))


# --- numbers and words -----------------------------------------------------------------------------------------------


def hashrate(hs: float | None) -> str:
    """H/s in the unit that leaves one to four digits."""
    if hs is None:
        return f"{DASH} H/s"
    for scale, unit in ((1e18, "EH/s"), (1e15, "PH/s"), (1e12, "TH/s"), (1e9, "GH/s")):
        if hs >= scale:
            return f"{hs / scale:.2f} {unit}"
    return f"{hs:.0f} H/s"


def power(watts: float | None) -> str:
    """W up to 10 kW, so that one machine keeps its digits; kW and MW above."""
    if watts is None:
        return f"{DASH} W"
    if abs(watts) < 1e4:
        return f"{watts:.0f} W"
    return f"{watts / 1e3:.1f} kW" if abs(watts) < 1e6 else f"{watts / 1e6:.2f} MW"


def money(usd: float | None, digits: int = 4) -> str:
    return DASH if usd is None else f"{usd:+.{digits}f}"


def age(seconds: float | None) -> str:
    """A length of time in the largest unit that leaves a whole number of at least two."""
    if seconds is None or math.isnan(seconds):
        return f"{DASH} s"
    for scale, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * scale:
            return f"{seconds // scale:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def _fixed(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def _sign_style(value: float | None) -> str:
    return "" if value is None else "red" if value < 0 else "green"


def _age_s(instant: str | None, now_s: float) -> float:
    """Seconds since an RFC 3339 instant; NaN where there is none."""
    return math.nan if instant is None else now_s - datetime.fromisoformat(instant).timestamp()


def _clock(instant: str | None) -> str:
    return DASH if instant is None else f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M:%S} UTC"


def _plain(text: Any) -> str:
    """Device text for a terminal: an escape sequence becomes visible dots."""
    return "" if text is None else "".join(c if c.isprintable() else "·" for c in str(text))


def _label(name: str) -> tuple[str, str]:
    return f"{name:<8}", "bold blue"


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
