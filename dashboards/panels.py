"""What a Grafana board is made of: rows of panels, with the metric names of `exporters.metrics`.

Panels are laid out by flow, left to right; a panel is its title, unit and expressions, and little else is tuned. The
boards themselves are in modules of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exporters import metrics as m

GRID_WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "[$__rate_interval]"
RUNNING = f"on (machine) {m.MACHINE_HASHRATE}"

FARM_UID = "hashwatt"
LINK_TO_MACHINE = "/d/" + FARM_UID + "?var-machine={name}&${{__url_time_range}}"


@dataclass(frozen=True)
class Panel:
    """`queries`: expression -> legend. `width` of 24, `unit` as Grafana names it.

    `units`: for columns of a table, by legend. `opens`: a click on a value opens the machine that it is of. `x`: the
    label whose numbers are the horizontal axis, for the kind "trend".
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    format: str = "time_series"
    note: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    opens: bool = False
    x: str = ""

    @property
    def is_instant(self) -> bool:
        """Whether it asks for the value of now only."""
        return self.kind in ("stat", "table", "bargauge", "histogram", "trend")


@dataclass(frozen=True)
class Board:
    """One board: its rows by title, and how far back it looks when it is opened."""

    uid: str
    title: str
    rows: Mapping[str, Sequence[Panel]]
    since: str = "now-6h"


def stat(title: str, unit: str, query: str, legend: str = "", width: int = 4, note: str = "") -> Panel:
    return Panel(title, unit, {query: legend}, "stat", width, 4, note=note)


def late(label: str, metric: m.Metric) -> str:
    """99th percentile of a histogram, by `label`."""
    return f"histogram_quantile(0.99, sum by ({label}, le) (rate({metric}_bucket{RATE})))"


def dashboard(board: Board, others: Sequence[Board] = ()) -> dict[str, object]:
    """The board as Grafana imports it, with links to the `others`."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["hashwatt"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": board.since, "to": "now"},
        "links": [
            {
                "type": "link", "title": other.title, "url": f"/d/{other.uid}", "icon": "dashboard",
                "keepTime": True, "includeVars": True, "targetBlank": False,
            }
            for other in others
        ],
        "templating": {"list": list(_variables(board))},
        "panels": list(_panels(board.rows)),
    }  # fmt: skip


def _variables(board: Board) -> Iterator[dict[str, object]]:
    """The data source, and the machine where any panel asks for one."""
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    if not any("$machine" in query for panels in board.rows.values() for panel in panels for query in panel.queries):
        return
    query = f"label_values({m.MACHINE_UP}, machine)"
    yield {
        "name": "machine", "label": "Machine", "type": "query", "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": "machine"}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _panels(rows: Mapping[str, Sequence[Panel]]) -> Iterator[dict[str, object]]:
    number, y = 0, 0
    for title, panels in rows.items():
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, GRID_WIDTH, 1)}
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > GRID_WIDTH:
                x, y, height = 0, y + height, 0
            number += 1
            yield _panel(panel, number, _place(x, y, panel.width, panel.height))
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, object]:
    made: dict[str, object] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": _fields(panel),
        "options": _options(panel),
        "targets": [
            {
                "refId": _ref(i), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend,
                "instant": panel.is_instant, "range": not panel.is_instant, "format": panel.format,
            }
            for i, (expr, legend) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip
    if transformations := list(_transformations(panel)):
        made["transformations"] = transformations
    return made


def _ref(i: int) -> str:
    return chr(ord("A") + i)


def _fields(panel: Panel) -> dict[str, object]:
    defaults: dict[str, object] = {"unit": panel.unit, "noValue": "no data"}
    if panel.opens:
        named = "${__data.fields.machine}" if panel.kind == "table" else "${__field.labels.machine}"
        defaults["links"] = [{"title": "The machine", "url": LINK_TO_MACHINE.format(name=named)}]
    overrides = [
        {"matcher": {"id": "byName", "options": legend}, "properties": [{"id": "unit", "value": unit}]}
        for legend, unit in panel.units.items()
    ]
    return {"defaults": defaults, "overrides": overrides}


def _options(panel: Panel) -> dict[str, object]:
    match panel.kind:
        case "stat":
            by_name = any("{{" in legend for legend in panel.queries.values())
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "name" if by_name else "value"}
        case "bargauge":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal", "displayMode": "basic"}
        case "trend":
            return {"xField": panel.x}
    return {}


def _transformations(panel: Panel) -> Iterator[dict[str, object]]:
    """What makes one table of several queries, each of which is a column `Value #A`, or `Value` alone."""
    several = len(panel.queries) > 1
    named = {f"Value #{_ref(i)}" if several else "Value": legend for i, legend in enumerate(panel.queries.values())}
    if panel.kind == "table":
        yield {"id": "merge", "options": {}}
        yield {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": named}}
    if panel.kind == "trend":
        yield {"id": "joinByField", "options": {"byField": panel.x, "mode": "outer"}}
        yield {
            "id": "organize",
            "options": {"excludeByName": {"Time": True, "Time 1": True, "Time 2": True}, "renameByName": named},
        }
        yield {
            "id": "convertFieldType",
            "options": {"conversions": [{"targetField": panel.x, "destinationType": "number"}], "fields": {}},
        }
        yield {"id": "sortBy", "options": {"sort": [{"field": panel.x, "desc": False}]}}
