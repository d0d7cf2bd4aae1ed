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


def with_pools(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The replies of a machine, with these pools where its make has them."""
    replies = replies_of(name)
    if name == "vnish":
        replies["summary"]["miner"]["pools"] = rows
    else:
        replies["pools"] = {"mara": rows, "elphapex": {"POOLS": rows}, "proto": {"pools": rows}}[name]
    return replies


@pytest.mark.parametrize("name", ["vnish", "mara", "elphapex", "proto"])
def test_a_counter_of_several_pools_does_not_fall_where_one_says_nothing(name: str) -> None:
    """Who takes the sum of the rest for the counter books all of it once more when the answer is whole again."""
    farm = {"url": "stratum+tcp://farm.example:3333", "status": "Alive", "accepted": 500, "rejected": 2}
    spare = {"url": "stratum+tcp://spare.example:3333", "status": "Dead", "accepted": 3, "rejected": 1}
    whole = read(name, with_pools(name, [farm, spare]))
    assert (whole.shares_accepted, whole.shares_rejected) == (503.0, 3.0)
    del farm["accepted"]
    reading = read(name, with_pools(name, [farm, spare]))
    assert (reading.shares_accepted, reading.shares_rejected) == (None, 3.0)


def test_a_counter_of_pool_groups_does_not_fall_either() -> None:
    replies = replies_of("braiins_gql")
    before = read("braiins_gql", replies).shares_rejected
    groups = replies["gql_pools"]["data"]["bosminer"]["info"]["poolGroups"]
    shares = [pool["shares"] for group in groups for pool in group["pools"]]
    assert before == sum(share["rejectedSolutions"] for share in shares)
    max(shares, key=lambda share: share["rejectedSolutions"]).pop("rejectedSolutions")
    assert read("braiins_gql", replies).shares_rejected is None
