"""The command `hashwatt hashprice`: what a PH/s earns in a day, from four numbers, without a network."""

from __future__ import annotations

import argparse
import json
import sys

from fleet.market import (
    BOUNDS,
    MarketInput,
    hashprice_btc_per_ph_day,
    hashprice_usd_per_ph_day,
    in_bounds,
    reward_btc,
    sats_per_th_day,
)

OPTIONS = {
    "--difficulty": MarketInput.DIFFICULTY,
    "--btc-usd": MarketInput.BTC_USD,
    "--height": MarketInput.HEIGHT,
    "--block-fees-btc": MarketInput.BLOCK_FEES_BTC,
}


def whole_number(text: str) -> int:
    value = float(text)  # not int(): five thousand digits are to be refused, not computed with
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--difficulty", type=float, required=True, metavar="D", help="difficulty in force, as 141.67e12"
    )
    parser.add_argument("--btc-usd", type=float, required=True, metavar="P", help="price of a bitcoin in USD")
    parser.add_argument(
        "--height", type=whole_number, required=True, metavar="H", help="block height, which gives the subsidy"
    )
    parser.add_argument(
        "--block-fees-btc",
        type=float,
        required=True,
        metavar="F",
        help="mean fees per block of the last 144 blocks, BTC",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Prints the hashprice; 0, or 2 with one line on standard error where a number cannot be what its name says."""
    inputs: dict[MarketInput, float] = {input: getattr(args, input.value) for input in OPTIONS.values()}
    for option, input in OPTIONS.items():
        if not in_bounds(input, inputs[input]):
            low, high = BOUNDS[input]
            sys.stderr.write(f"hashwatt hashprice: {option} {inputs[input]:g} is not between {low:g} and {high:g}\n")
            return 2

    difficulty = inputs[MarketInput.DIFFICULTY]
    reward = reward_btc(inputs[MarketInput.HEIGHT], inputs[MarketInput.BLOCK_FEES_BTC])
    usd_ph_day = hashprice_usd_per_ph_day(difficulty, reward, inputs[MarketInput.BTC_USD])
    btc_ph_day = hashprice_btc_per_ph_day(difficulty, reward)
    sats_th_day = sats_per_th_day(difficulty, reward)
    if args.json:
        report = {
            "hashprice_usd_ph_day": usd_ph_day,
            "hashprice_btc_ph_day": btc_ph_day,
            "sats_th_day": sats_th_day,
            "reward_btc": reward,
            **{input.value: value for input, value in inputs.items()},
        }
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.write(f"{usd_ph_day:.2f} USD/PH/day\n{btc_ph_day:.8f} BTC/PH/day\n{sats_th_day:.2f} sats/TH/day\n")
    return 0
