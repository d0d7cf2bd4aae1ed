"""The status document as one plain HTML page: no script, nothing fetched from elsewhere, every text escaped.

The page is drawn from the shape of the document alone (scalars, lists of objects, objects), so a new field of
`exporters.report.status_document` shows up here without a line of code. Alarms alone stand out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

REFRESH_S = 10
MAX_ROWS = 200

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #8884; vertical-align: top }
th { font-weight: 600; opacity: .75 } .missing { opacity: .5 } footer { margin-top: 2rem; opacity: .7 }
.alarm { color: #c8372d; font-weight: 600 }
"""


def status_html(document: Mapping[str, object]) -> str:
    """The whole page. Unknown numbers (None) show as a dash, never as 0."""
    title = escape(f"Hashwatt {document.get('site', '')}".strip())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n"
        + "\n".join(_sections(document))
        + '\n<footer><a href="metrics">metrics</a> · <a href="status.json">status.json</a> · <a href="sd">sd</a>'
        "</footer></body></html>\n"
    )


def _sections(document: Mapping[str, object]) -> Iterator[str]:
    scalars = {key: value for key, value in document.items() if not isinstance(value, Mapping | list | tuple)}
    if scalars:
        yield _pairs(scalars)
    for key, value in document.items():
        if key == "alarms" and value:
            yield f'<h2>{_label(key)}</h2><p class="alarm">{_value(value)}</p>'
        elif key not in scalars:
            yield f"<h2>{_label(key)}</h2>{_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return _pairs(value) if value else _MISSING
    if isinstance(value, list | tuple):
        if not value:
            return _MISSING
        return _rows(value) if all(isinstance(row, Mapping) for row in value) else escape(", ".join(map(str, value)))
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(f"{value:,.6g}" if isinstance(value, float) else str(value))


_MISSING = '<span class="missing">–</span>'


def _pairs(values: Mapping[str, object]) -> str:
    rows = "".join(f"<tr><th>{_label(key)}</th><td>{_value(value)}</td></tr>" for key, value in values.items())
    return f"<table>{rows}</table>"


def _rows(rows: Sequence[Mapping[str, object]]) -> str:
    """A list of like objects; a long one is cut and says so."""
    names = list(dict.fromkeys(name for row in rows[:MAX_ROWS] for name in row))
    head = "".join(f"<th>{_label(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_value(row.get(name))}</td>" for name in names) + "</tr>" for row in rows[:MAX_ROWS]
    )
    more = f"<p>and {len(rows) - MAX_ROWS} more</p>" if len(rows) > MAX_ROWS else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _label(key: str) -> str:
    return escape(str(key).replace("_", " "))
