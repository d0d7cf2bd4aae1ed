"""Market numbers that the operator states: for a farm without a feed, or with a contract price."""

from __future__ import annotations

import math
from collections.abc import Mapping

from collectors.feeds.fields import quote
from fleet.market import MarketInput, Quote


class FixedFeed:
    """The same quotes at every look, as of `as_of_s`, for `good_for_s` seconds (inf = for ever).

    Errors: PollError at construction where a value is out of bounds.
    """

    def __init__(self, values: Mapping[MarketInput, float], as_of_s: float, good_for_s: float = math.inf) -> None:
        self._quotes = tuple(
            quote(input, "fixed", value, as_of_s, soft_s=good_for_s, good_for_s=good_for_s)
            for input, value in values.items()
        )

    async def read(self) -> tuple[Quote, ...]:
        return self._quotes

    async def aclose(self) -> None:
        pass
