"""What goes out of an appraisal: series that vanish where nothing is told, and the counts of a status document."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from cycles import AT_S, NAN, make_cycle, small_cycle

from exporters.prometheus import render
from exporters.report import once_document, status_document
from fleet.capital import Appraisal, FeederValue, Keep, Worth

IDS = ("a1", 'b"2', "c3")
WORTH = Worth(
    keep_usd=np.array([743.25, -60.0, NAN]),
    keep_error_usd=np.array([54.5, 0.0, NAN]),
    resale_usd=np.array([200.0, 100.0, NAN]),
    verdict=np.array([Keep.KEEP, Keep.RETIRE, Keep.UNKNOWN], np.uint8),
)
FEEDERS = (
    FeederValue("F1", 2, 0, 6450.0, 2950.0, 0.0620, 0.0500, False),
    FeederValue('hall "2"', 2, 1, 3000.0, NAN, 0.0450, NAN, None),
    FeederValue("F3", 1, 0, 3250.0, 3250.0, 0.0450, 0.2110, True),
    FeederValue("dark", 1, 1, NAN, NAN, NAN, 0.2110, None),
)
FOUND = Appraisal(AT_S - 300.0, IDS, 2, WORTH, FEEDERS)


def page(appraisal: Appraisal | None) -> list[str]:
    text = b"".join(render(small_cycle(), now_s=AT_S, appraisal=appraisal)).decode()
    return [line for line in text.splitlines() if "_retire" in line or "_keep" in line or "_resale" in line
            or "_feeder_" in line or "_appraisal" in line]  # fmt: skip


def test_the_series_of_an_appraisal() -> None:
    """Every family, in the order of the table; a number that is not known has no series, and UNKNOWN is no verdict."""
    assert [line for line in page(FOUND) if not line.startswith("#")] == [
        'hashwatt_machine_keep_value_usd{machine="a1"} 743.25',
        'hashwatt_machine_keep_value_usd{machine="b\\"2"} -60.0',
        'hashwatt_machine_keep_value_error_usd{machine="a1"} 54.5',
        'hashwatt_machine_keep_value_error_usd{machine="b\\"2"} 0.0',
        'hashwatt_machine_resale_usd{machine="a1"} 200.0',
        'hashwatt_machine_resale_usd{machine="b\\"2"} 100.0',
        'hashwatt_machine_retire{machine="a1",verdict="keep"} 1.0',
        'hashwatt_machine_retire{machine="b\\"2",verdict="retire"} 1.0',
        'hashwatt_feeder_power_watts{feeder="F1"} 6450.0',
        'hashwatt_feeder_power_watts{feeder="hall \\"2\\""} 3000.0',
        'hashwatt_feeder_power_watts{feeder="F3"} 3250.0',
        'hashwatt_feeder_unpriced_machines{feeder="F1"} 0.0',
        'hashwatt_feeder_unpriced_machines{feeder="hall \\"2\\""} 1.0',
        'hashwatt_feeder_unpriced_machines{feeder="F3"} 0.0',
        'hashwatt_feeder_unpriced_machines{feeder="dark"} 1.0',
        'hashwatt_feeder_mining_usd_per_kilowatt_hour{feeder="F1"} 0.062',
        'hashwatt_feeder_mining_usd_per_kilowatt_hour{feeder="hall \\"2\\""} 0.045',
        'hashwatt_feeder_mining_usd_per_kilowatt_hour{feeder="F3"} 0.045',
        'hashwatt_feeder_alternative_usd_per_kilowatt_hour{feeder="F1"} 0.05',
        'hashwatt_feeder_alternative_usd_per_kilowatt_hour{feeder="F3"} 0.211',
        'hashwatt_feeder_alternative_usd_per_kilowatt_hour{feeder="dark"} 0.211',
        'hashwatt_feeder_below_alternative_watts{feeder="F1"} 2950.0',
        'hashwatt_feeder_below_alternative_watts{feeder="F3"} 3250.0',
        f"hashwatt_appraisal_timestamp_seconds {AT_S - 300.0}",
    ]


def test_without_an_appraisal_nothing_of_it_is_on_the_page() -> None:
    assert page(None) == []


def test_two_feeders_whose_names_look_alike_are_two_series() -> None:
    alike = (FeederValue("F1", 1, 0, 1.0, NAN, NAN, NAN, None), FeederValue("F1\x07", 1, 0, 2.0, NAN, NAN, NAN, None))
    lines = page(Appraisal(AT_S, IDS, 2, WORTH, alike))
    assert len({line.split("}")[0] for line in lines if line.startswith("hashwatt_feeder_power")}) == 2


def worth_in(appraisal: Appraisal | None) -> Any:
    cycle = make_cycle(IDS)
    once, status = once_document(cycle, appraisal), status_document(cycle, AT_S + 90, appraisal)
    assert once.get("worth") == status.get("worth")
    return json.loads(json.dumps(status)).get("worth")


def test_a_document_counts_verdicts_and_watts() -> None:
    told = worth_in(FOUND)
    feeders = told.pop("feeders")
    assert told == {
        "at": "2027-01-15T07:55:00.000Z", "verdicts": {"keep": 1, "retire": 1}, "unknown": 1,
        "below_alternative_w": 6200.0, "below_alternative_feeders": 2,
    }  # fmt: skip
    assert [feeder["feeder"] for feeder in feeders] == ["F1", "F3", "dark"]  # hall 2 has no alternative
    assert feeders[0] == {
        "feeder": "F1", "machines": 2, "unpriced": 0, "priced_ratio": 1.0, "power_w": 6450.0, "mining_usd_kwh": 0.062,
        "alternative_usd_kwh": 0.05, "below_alternative_w": 2950.0, "is_worth_more": False,
    }  # fmt: skip
    assert (feeders[2]["power_w"], feeders[2]["is_worth_more"]) == (None, None)


@pytest.mark.parametrize("feeders", [(), FEEDERS[1:2]])
def test_where_nothing_is_told_nothing_is_said(feeders: tuple[FeederValue, ...]) -> None:
    nobody = Worth(*(np.full(3, NAN) for _ in range(3)), np.zeros(3, np.uint8))
    assert worth_in(Appraisal(AT_S, IDS, 0, nobody, feeders)) is None
    assert worth_in(None) is None
