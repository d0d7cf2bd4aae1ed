"""`hashwatt hashprice` against the published figures of Hashrate Index roundups."""

from __future__ import annotations

import argparse
import json

import pytest

from agent import hashprice


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="hashwatt hashprice", allow_abbrev=False)
    hashprice.add_arguments(parser)
    return hashprice.run(parser.parse_args(arguments))


def arguments(difficulty: str, btc_usd: str, height: str, block_fees_btc: str) -> list[str]:
    return [
        *("--difficulty", difficulty, "--btc-usd", btc_usd),
        *("--height", height, "--block-fees-btc", block_fees_btc),
    ]


# fees per block = subsidy * share / (1 - share) at the printed share of the whole reward
ROWS = [
    pytest.param(("13.672594e12", "33806", "692500", "0.079755"), 315.0, 0.001, None, id="2021-07-24, 1.26 %"),
    pytest.param(("155.97e12", "106935", "922000", "0.019496"), 43.33, 0.015, 0.00040577, id="2025-11-03, 0.62 %"),
    pytest.param(("146.47e12", "91132", "932000", "0.017283"), 39.53, 0.015, 0.00043143, id="2026-01-12, 0.55 %"),
]


@pytest.mark.parametrize(("inputs", "usd_ph_day", "tolerance", "btc_ph_day"), ROWS)
def test_json_agrees_with_the_published_rows(
    capsys: pytest.CaptureFixture[str],
    inputs: tuple[str, str, str, str],
    usd_ph_day: float,
    tolerance: float,
    btc_ph_day: float | None,
) -> None:
    assert run(*arguments(*inputs), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["hashprice_usd_ph_day"] == pytest.approx(usd_ph_day, rel=tolerance)
    if btc_ph_day is not None:
        assert report["hashprice_btc_ph_day"] == pytest.approx(btc_ph_day, rel=0.007)
        assert report["sats_th_day"] == pytest.approx(btc_ph_day * 1e5, rel=0.007)
    subsidy = 6.25 if btc_ph_day is None else 3.125
    assert report["reward_btc"] == pytest.approx(subsidy + float(inputs[3]))
    assert [report[key] for key in ("difficulty", "btc_usd", "height", "block_fees_btc")] == [
        float(text) for text in inputs
    ]


def test_text_gives_the_three_units(capsys: pytest.CaptureFixture[str]) -> None:
    # by hand: 2.0116567611694e10 / 141.67e12 * 3.145 * 70000
    assert run(*arguments("141.67e12", "70000", "935140", "0.02")) == 0
    assert capsys.readouterr().out == "31.26 USD/PH/day\n0.00044658 BTC/PH/day\n44.66 sats/TH/day\n"


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        (("0", "70000", "935140", "0.02"), "--difficulty 0 is not between"),
        (("-1", "70000", "935140", "0.02"), "--difficulty -1 is not between"),
        (("9.345e20", "70000", "935140", "0.02"), "--difficulty 9.345e+20 is not between"),  # that is a hashrate
        (("nan", "70000", "935140", "0.02"), "--difficulty nan is not between"),
        (("141.67e12", "inf", "935140", "0.02"), "--btc-usd inf is not between"),
        (("141.67e12", "70", "935140", "0.02"), "--btc-usd 70 is not between"),
        (("141.67e12", "70000", "-5", "0.02"), "--height -5 is not between"),
        (("141.67e12", "70000", "1e300", "0.02"), "--height 1e+300 is not between"),
        (("141.67e12", "70000", "935140", "-0.1"), "--block-fees-btc -0.1 is not between"),
        (("141.67e12", "70000", "935140", "21"), "--block-fees-btc 21 is not between"),
    ],
)
def test_a_number_out_of_bounds_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], inputs: tuple[str, str, str, str], named: str
) -> None:
    options = ("--difficulty", "--btc-usd", "--height", "--block-fees-btc")
    assert run(*(f"{option}={text}" for option, text in zip(options, inputs, strict=True))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hashwatt hashprice: {named}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("height", ["935140.5", "inf", "nan", "x", "", "9" * 5000], ids=range(6))
def test_a_height_that_is_no_whole_number_is_refused_by_the_parser(
    capsys: pytest.CaptureFixture[str], height: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments("141.67e12", "70000", height, "0.02"))
    assert ended.value.code == 2
    assert "--height" in capsys.readouterr().err
