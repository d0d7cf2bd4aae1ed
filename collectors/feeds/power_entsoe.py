"""Day-ahead prices of a bidding zone from the ENTSO-E transparency platform (document A44, XML).

A document holds one or more TimeSeries, told apart by a classification sequence and a resolution. A point whose
position is left out repeats the one before it. Resolutions of one document are brought to the finest: an hour's price
is that of its quarters, and a quarter's own price goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError, fromstring

from collectors.feeds.fields import count, malformed, number, printable
from collectors.feeds.http import HttpClient
from collectors.feeds.power_series import KWH_PER, instant_s, series_of
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.series import Series

RESOLUTION_S = {"PT15M": 900, "PT30M": 1800, "PT60M": 3600, "PT1H": 3600}
SEQUENCE = "classificationSequence_AttributeInstanceComponent.position"
MAX_PERIOD_S = 8 * 86_400


@dataclass(frozen=True, slots=True)
class EntsoeOptions:
    """`zone`: EIC code; `unit`: the currency in which the operator has his tariff, which the document must be in."""

    name: str
    base_url: str
    zone: str
    unit: str
    token: str = field(repr=False)
    sequence: float | None = None  # a whole number; the pipe knows no other kind


class EntsoeFeed:
    """One bidding zone. `now` gives Unix time."""

    def __init__(self, client: HttpClient, options: EntsoeOptions, deadline_s: float, now: Callable[[], float]) -> None:
        self._client, self._options, self._deadline_s, self._now = client, options, deadline_s, now

    async def read(self) -> Series:
        """Prices from yesterday to the day after tomorrow, as far as they are published. Errors: PollError."""
        options, now_s = self._options, self._now()
        midnight = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        query = {
            "securityToken": options.token,
            "documentType": "A44",
            "in_Domain": options.zone,
            "out_Domain": options.zone,
            "periodStart": f"{midnight - timedelta(days=1):%Y%m%d%H%M}",
            "periodEnd": f"{midnight + timedelta(days=3):%Y%m%d%H%M}",
        }
        url = f"{options.base_url.rstrip('/')}/api?{urlencode(query)}"
        return parse_document(await self._client.fetch_text(url, deadline_s=self._deadline_s), options, now_s)

    async def aclose(self) -> None:
        await self._client.aclose()


def parse_document(text: str, options: EntsoeOptions, now_s: float) -> Series:
    """The series in a document. Errors: PollError; what the platform says when it has nothing is quoted."""
    root = _root(text)
    if _local(root) == "Acknowledgement_MarketDocument":
        raise PollError(FaultKind.UNREACHABLE, "the platform answers " + printable(_text(root, "Reason", "text")))
    if _local(root) != "Publication_MarketDocument":
        raise malformed(f"a {printable(_local(root))} instead of prices")
    found = [each for each in root if _local(each) == "TimeSeries"]
    sequences = {each: _sequence(each) for each in found}
    wanted = options.sequence if options.sequence is not None else min(sequences.values(), default=1)
    steps = [step for each in found if sequences[each] == wanted for step in _steps(each, options.unit, now_s)]
    if not steps:
        raise malformed(f"no prices of sequence {wanted:g}")
    finest_s = min(length_s for _, length_s, _ in steps)
    prices: dict[float, float] = {}
    for start_s, length_s, value in sorted(steps, key=lambda step: -step[1]):
        for offset_s in range(0, length_s, finest_s):
            prices[start_s + offset_s] = value / KWH_PER["mwh"]
    return series_of(options.name, prices, float(finest_s), options.unit)


def _root(text: str) -> Element:
    # expat resolves no external entity, but a document type could still define entities that multiply
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise malformed("XML with a document type")
    try:
        return fromstring(text)  # noqa: S314 - bounded in size by the client, and without a document type
    except (ParseError, ValueError):
        raise malformed("not XML") from None


def _steps(series: Element, unit: str, now_s: float) -> Iterator[tuple[float, int, float]]:
    """Start, length and price of every step of a TimeSeries."""
    if (currency := _text(series, "currency_Unit.name")) != unit:
        raise malformed(f"prices in {printable(currency)}, not in {unit}")
    if (measure := _text(series, "price_Measure_Unit.name")) != "MWH":
        raise malformed(f"prices per {printable(measure)}, not per MWH")
    for period in (each for each in series if _local(each) == "Period"):
        start_s = instant_s(_text(period, "timeInterval", "start"), "start", now_s)
        end_s = instant_s(_text(period, "timeInterval", "end"), "end", now_s)
        length_s = RESOLUTION_S.get(resolution := _text(period, "resolution"))
        if length_s is None:
            raise malformed(f"resolution {printable(resolution)}")
        if not 0 < end_s - start_s <= MAX_PERIOD_S or (end_s - start_s) % length_s:
            raise malformed("a period that its resolution does not fill")
        yield from _filled(period, start_s, int((end_s - start_s) // length_s), length_s)


def _filled(period: Element, start_s: float, positions: int, length_s: int) -> Iterator[tuple[float, int, float]]:
    told: dict[int, float] = {}
    for point in (each for each in period if _local(each) == "Point"):
        position = count(_text(point, "position"), "position")
        if not 1 <= position <= positions or position in told:
            raise malformed("a position outside its period, or twice")
        told[position] = number(_text(point, "price.amount"), "price.amount")
    value: float | None = None
    for position in range(1, positions + 1):
        value = told.get(position, value)
        if value is not None:
            yield start_s + (position - 1) * length_s, length_s, value


def _sequence(series: Element) -> int:
    found = [each for each in series if _local(each) == SEQUENCE]
    return count((found[0].text or "").strip(), "classification sequence") if found else 1


def _local(element: Element) -> str:
    """The name of an element without its namespace, which changes with the version of the document."""
    return element.tag.rpartition("}")[2]


def _text(element: Element, *path: str) -> str:
    for name in path:
        found = [each for each in element if _local(each) == name]
        if not found:
            raise malformed(f"no {'.'.join(path)}")
        element = found[0]
    return (element.text or "").strip()
