"""A sum of which a part is not told is no sum: hash of boards and counters of pools, of which none may be invented."""

from __future__ import annotations

from typing import Any

import pytest
from hostile.machines import encoded, machine, replies_of

from collectors.miners.hearing import said_from
from fleet.readings import MinerReading


def read(name: str, replies: dict[str, Any]) -> MinerReading:
    make = machine(name).make
    return make.read(said_from(make, {question: encoded(reply) for question, reply in replies.items()}))


@pytest.mark.parametrize("index", [None, "", 1, -1, 99, "x"], ids=repr)
def test_two_boards_that_cannot_be_told_apart_are_no_half_of_a_machine(index: object) -> None:
    """The recorded ePIC has boards 0 and 1 of nearly 50 TH/s each; the second takes the first one's place, or none."""
    replies = replies_of("epic")
    rows = replies["summary"]["HBs"]
    whole = read("epic", replies).hashrate_hs
    assert whole == pytest.approx(sum(row["Hashrate"][0] for row in rows) * 1e6)
    rows[0]["Index"] = rows[1]["Index"] if index == 1 else index
    assert read("epic", replies).hashrate_now_hs is None


def test_a_counter_of_several_pools_does_not_fall_where_one_says_nothing() -> None:
    """Who takes the sum of the rest for the counter books all of it once more when the answer is whole again."""
    replies = replies_of("vnish")
    assert read("vnish", replies).shares_accepted == 500.0
    del replies["summary"]["miner"]["pools"][0]["accepted"]
    reading = read("vnish", replies)
    assert reading.shares_accepted is None
    assert reading.shares_rejected == 2.0


def test_a_counter_of_pool_groups_does_not_fall_either() -> None:
    replies = replies_of("braiins_gql")
    before = read("braiins_gql", replies).shares_rejected
    groups = replies["gql_pools"]["data"]["bosminer"]["info"]["poolGroups"]
    shares = [pool["shares"] for group in groups for pool in group["pools"]]
    assert before == sum(share["rejectedSolutions"] for share in shares)
    max(shares, key=lambda share: share["rejectedSolutions"]).pop("rejectedSolutions")
    assert read("braiins_gql", replies).shares_rejected is None
