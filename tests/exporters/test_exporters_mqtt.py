"""Messages of a cycle: what is told, when it is told again, and what never is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cycles import AT_S, NAN, make_cycle, small_cycle

from exporters.mqtt import (
    MAX_BATCH_BYTES,
    Told,
    batch_messages,
    machine_messages,
    pdu_messages,
    plan_messages,
    status_message,
    watched_machines,
)
from fleet.snapshot import SENSOR_SLOTS


def fleet(**columns):
    """Two machines at 100 TH/s, 3000 W and a chip at 70 degrees, but for the named columns."""
    chips = np.full((2, len(SENSOR_SLOTS)), np.nan)
    chips[:, 4] = columns.pop("chip_c", 70.0)
    known = {"up": [1, 1], "hashrate_hs": [1e14, 1e14], "power_w": [3000.0, 3000.0], "temperature_c": chips}
    return make_cycle(("a", "b"), snapshot=known | columns)


def due(told, cycle, now_s=AT_S + 10, limit=100):
    now = watched_machines(cycle)
    told.fit(cycle.snapshot.ids, now)
    return told.due(now, now_s, 600.0, limit).tolist()


def told_of(cycle):
    told, now = Told(), watched_machines(cycle)
    told.fit(cycle.snapshot.ids, now)
    told.note(np.arange(len(cycle.snapshot)), now, AT_S)
    return told


def test_everybody_is_told_about_at_first():
    assert due(Told(), fleet()) == [0, 1]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, []),
        ({"hashrate_hs": [1.019e14, 1e14]}, []),
        ({"hashrate_hs": [1.021e14, 1e14]}, [0]),
        ({"power_w": [3000, 2900]}, [1]),
        ({"power_w": [3000, 0]}, [1]),
        ({"chip_c": [72.0, 67.9]}, [1]),
        ({"up": [1, 0]}, [1]),
        ({"fault": [0, 3]}, [1]),
        ({"state": [1, 5]}, [0]),
        ({"hashrate_hs": [NAN, 1e14]}, [0]),
        ({"power_source": [0, 2]}, [1]),
        ({"error_count": [0, 2]}, [0, 1]),
        ({"suspect": [0, 2]}, [1]),
        ({"meter_doubt": [0, 1]}, [1]),
        ({"is_conflict": [True, False]}, [0]),
        ({"is_expected_pool": [True, False]}, [1]),
    ],
)
def test_only_what_moved_is_told_again(columns, expected):
    if "state" in columns:
        columns = {"state": [1, int(fleet().snapshot.state[1])]}
    assert due(told_of(fleet()), fleet(**columns)) == expected


def test_a_value_that_comes_back_is_news_and_one_that_stays_missing_is_not():
    assert due(told_of(fleet(power_w=[NAN, NAN])), fleet(power_w=[NAN, 3000.0])) == [1]


def test_a_slow_drift_is_told_once_it_has_left_the_band_of_what_was_last_told():
    told = told_of(fleet())
    assert due(told, fleet(power_w=[3050, 3000])) == []
    assert due(told, fleet(power_w=[3061, 3000])) == [0]


def test_an_unchanged_machine_is_refreshed_every_ten_minutes():
    told = told_of(fleet())
    assert due(told, fleet(), AT_S + 599) == []
    assert due(told, fleet(), AT_S + 600) == [0, 1]


def test_the_longest_untold_go_first_when_there_is_no_room_for_all():
    told = told_of(fleet())
    told.note(np.array([0]), watched_machines(fleet()), AT_S + 5)
    assert due(told, fleet(), AT_S + 1000, limit=1) == [1]


def test_a_machine_found_later_is_told_and_the_others_are_not_told_again():
    told = told_of(fleet())
    three = make_cycle(("a", "b", "c"), snapshot={
        "up": [1, 1, 1], "hashrate_hs": [1e14, 1e14, 1e14], "power_w": [3000.0] * 3,
        "temperature_c": np.vstack([fleet().snapshot.temperature_c, np.full((1, len(SENSOR_SLOTS)), np.nan)]),
    })  # fmt: skip
    assert due(told, three) == [2]


def test_the_state_of_a_machine():
    cycle = small_cycle()
    first, silent = machine_messages(cycle, np.array([0, 2]), "boot-1", 1800.0)
    assert first.topic == "hashwatt/north/machines/a1/state"
    assert (first.qos, first.retain, first.expiry_s) == (1, True, 1800.0)
    state = json.loads(first.payload)
    assert (state["schema"], state["site"], state["boot_id"]) == ("machine.state/1", "north", "boot-1")
    assert (state["power_w"], state["power_source"], state["last_seen"]) == (
        3250.0, "metered", "2027-01-15T07:59:57.000Z",
    )  # fmt: skip
    assert (json.loads(silent.payload)["hashrate_hs"], json.loads(silent.payload)["fault"]) == (None, "timeout")
    assert (json.loads(silent.payload)["provisional"], json.loads(silent.payload)["state"]) == (True, "unreachable")
    assert (state["provisional"], state["hashrate_window_s"], state["errors"]) == (False, 1800.0, [])


def test_the_state_of_a_machine_that_has_troubles_names_them():
    (message,) = machine_messages(small_cycle(), np.array([1]), "boot-1", 1800.0)
    state = json.loads(message.payload)
    assert state["errors"] == ["111: fan 1 is lost", "540: board 0 does not answer"]
    assert (state["is_expected_pool"], state["conflict_with"], state["suspect"]) == (
        False,
        "10.1.0.9",
        ["power", "work"],
    )
    assert state["meter_doubt"] == ["power_without_hash", "ratio"]


def test_advice_is_never_in_a_message_that_outlives_its_lease():
    cycle = small_cycle()
    texts = [
        message.payload.decode()
        for messages in (machine_messages(cycle, np.arange(3), "b", 9), batch_messages(cycle, "b", 9))
        for message in messages
    ]
    assert not any(word in text for text in texts for word in ('"action"', '"stop"', "MARGIN_NEGATIVE"))


def test_the_state_of_a_pdu_carries_its_outlets():
    (message,) = pdu_messages(small_cycle(), np.array([0]), "boot-1", 1800.0)
    state = json.loads(message.payload)
    assert message.topic == "hashwatt/north/pdus/pdu-1/state"
    assert [outlet["on"] for outlet in state["outlets"]] == [True, False]
    assert (state["serial"], state["doubts"]) == ("5A1234", ["near_limit", "sum"])
    assert [row["current_a"] for row in state["rows"]] == [14.1, 0.0, 14.1]


def test_the_batch_covers_the_fleet_in_bounded_chunks():
    n = 5000
    ids = tuple(f"m{i:05d}-{'x' * 100}" for i in range(n))
    cycle = make_cycle(
        ids, snapshot={"power_w": np.r_[NAN, np.full(n - 1, 3250.04)], "hashrate_hs": np.full(n, 1.2e14)}
    )
    messages = list(batch_messages(cycle, "boot-1", 180.0))
    assert {(message.topic, message.qos, message.retain) for message in messages} == {
        ("hashwatt/north/batch/machines", 0, False)
    }
    assert max(len(message.payload) for message in messages) <= MAX_BATCH_BYTES
    chunks = [json.loads(message.payload) for message in messages]
    assert [chunk["first"] for chunk in chunks] == list(np.cumsum([0, *(chunk["rows"] for chunk in chunks)])[:-1])
    columns = [chunk["columns"] for chunk in chunks]
    assert [id for column in columns for id in column["id"]] == list(ids)
    assert columns[0]["power_w"][:2] == [None, 3250.0]
    assert {len(values) for chunk in chunks for values in chunk["columns"].values()} == {
        chunk["rows"] for chunk in chunks
    }


def test_parts_that_are_no_more_are_cleared():
    messages = plan_messages("north", [b"{}"], 3, 1800.0)
    assert [(m.topic, m.payload, m.retain) for m in messages] == [
        ("hashwatt/north/curtailment/plan/v1/0", b"{}", True),
        ("hashwatt/north/curtailment/plan/v1/1", b"", True),
        ("hashwatt/north/curtailment/plan/v1/2", b"", True),
    ]


def test_birth_and_will_share_a_topic_that_no_site_name_can_break():
    message = status_message("No\x00rth/#+", "hashwatt", "boot-1", "online", AT_S)
    assert message.topic == "hashwatt/North---/agent/status"
    assert json.loads(message.payload) == {
        "schema": "agent.status/1", "site": "North/#+", "agent": "hashwatt", "boot_id": "boot-1",
        "status": "online", "at": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip
