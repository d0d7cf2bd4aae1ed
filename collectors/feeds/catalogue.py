"""The explicit map from the kind of a feed to its class. The HTTP library is imported only where a feed needs it.

Options: `mempool`, `coinbase` and `kraken` take `base_url` (of the server, without a path), `proxy` and `ca_file`;
`fixed` takes one key per market input, `as_of_s` (Unix time) and `good_for_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from fleet.market import BOUNDS, MarketInput, in_bounds
from fleet.ports import Feed

Options = Mapping[str, str | float | bool]
Clock = Callable[[], float]

HTTP_OPTIONS = ("base_url", "proxy", "ca_file")


def open_feed(kind: str, options: Options, deadline_s: float, now: Clock) -> Feed:
    """A feed of `kind`; `now` gives Unix time. Errors: ValueError for what the operator must put right."""
    if kind not in FEEDS:
        raise ValueError(f"unknown feed {kind!r}: it is one of {', '.join(FEEDS)}")
    return FEEDS[kind](options, deadline_s, now)


def _open_mempool(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.http import HttpClient
    from collectors.feeds.mempool import BASE_URL, MempoolFeed

    base_url, client_options = _http_options(options)
    return MempoolFeed(HttpClient(**client_options), base_url or BASE_URL, deadline_s, now)


def _open_exchange(kind: str) -> Callable[[Options, float, Clock], Feed]:
    def open_exchange(options: Options, deadline_s: float, now: Clock) -> Feed:
        from collectors.feeds.exchange import TICKERS, ExchangeFeed
        from collectors.feeds.http import HttpClient

        base_url, client_options = _http_options(options)
        return ExchangeFeed(HttpClient(**client_options), kind, TICKERS[kind], deadline_s, now, base_url)

    return open_exchange


def _open_fixed(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.fixed import FixedFeed

    inputs = {input.value: input for input in MarketInput}
    _refuse_unknown(options, (*inputs, "as_of_s", "good_for_s"))
    numbers = {key: _number(key, value) for key, value in options.items()}
    good_for_s = numbers.pop("good_for_s", math.inf)
    if "as_of_s" not in numbers and math.isfinite(good_for_s):
        # counted from the start, the value would be new again after each restart
        raise ValueError("good_for_s needs as_of_s")
    as_of_s = numbers.pop("as_of_s", None)
    values = {inputs[key]: value for key, value in numbers.items()}
    for input, value in values.items():
        if not in_bounds(input, value):
            low, high = BOUNDS[input]
            raise ValueError(f"{input.value} {value:g} is not between {low:g} and {high:g}")
    return FixedFeed(values, now() if as_of_s is None else as_of_s, good_for_s)


FEEDS: Mapping[str, Callable[[Options, float, Clock], Feed]] = {
    "mempool": _open_mempool,
    "coinbase": _open_exchange("coinbase"),
    "kraken": _open_exchange("kraken"),
    "fixed": _open_fixed,
}


def _http_options(options: Options) -> tuple[str | None, dict[str, str]]:
    """The base URL, and the keyword arguments of HttpClient."""
    _refuse_unknown(options, HTTP_OPTIONS)
    texts = {key: _text(key, value) for key, value in options.items()}
    for key in ("base_url", "proxy"):
        if key in texts and not _is_address(texts[key]):
            raise ValueError(f"{key} is not an http:// or https:// address without a query")
    return texts.pop("base_url", None), texts


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _refuse_unknown(options: Options, known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}: it is one of {', '.join(known)}")


def _text(key: str, value: str | float | bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    return value


def _number(key: str, value: str | float | bool) -> float:
    if isinstance(value, str | bool) or not abs(value) < 1e300:  # also NaN, and an integer past every float
        raise ValueError(f"{key} is not a number")
    return float(value)
