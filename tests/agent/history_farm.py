"""Accounts of a farm that never was: noisy as real ones are, the same for the same seed."""

from __future__ import annotations

import numpy as np

from fleet.account import COLUMN, ITEMS, UNITS, Account, PriceSpan, Roster, Span

HOUR_S = 3600.0
MIDNIGHT_S = 1_789_084_800.0  # 2026-09-11 00:00 UTC


def roster_of(machines: int, model: str = "Antminer S21") -> Roster:
    nobody = ("",) * machines
    ids = tuple(f"02:00:00:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(machines))
    places = tuple(f"hall-1/{i // 40}" for i in range(machines))
    return Roster(ids, (model,) * machines, places, nobody, nobody, nobody)


def account_of(roster: Roster, start_s: float, span: Span = Span.HOUR, length_s: float = HOUR_S) -> Account:
    """One in twenty stood for a while; hashrate, watts and shares are noisy."""
    noise = np.random.default_rng(int(start_s) + len(roster.ids))
    n = len(roster.ids)
    running_s = np.where(noise.random(n) < 0.05, noise.uniform(0.0, length_s, n), length_s)
    hashes = noise.normal(200e12, 4e12, n) * running_s
    energy_j = noise.normal(3500.0, 60.0, n) * running_s
    revenue_usd = hashes * 0.045 / 86_400.0 / 1e15
    amounts = dict.fromkeys(("reached_s", "hashrate_s", "covered_s", "accepted_s", "priced_s"), np.full(n, length_s))
    amounts |= {
        "running_s": running_s,
        "hashes": hashes,
        "energy_j": energy_j,
        "metered_j": energy_j,
        "priced_j": energy_j,
        "difficulty_accepted": noise.poisson(hashes / 2**48) * 65_536.0,
        "difficulty_rejected": noise.poisson(0.3, n) * 65_536.0,
        "revenue_usd": revenue_usd,
        "cost_usd": energy_j / 3.6e6 * 0.0525,
        "accepted_revenue_usd": revenue_usd * noise.normal(1.0, 0.01, n),
    }
    counts = np.zeros((n, len(ITEMS)), np.int64)
    for name, amount in amounts.items():
        counts[:, COLUMN[name]] = np.round(amount / UNITS[COLUMN[name]])
    return Account(span, start_s, start_s + length_s, roster, counts)


def prices_of(start_s: float) -> list[PriceSpan]:
    """An hour of prices."""
    starts = [start_s + 300.0 * i for i in range(12)]
    return [PriceSpan("btc_usd", at_s, 300.0, 60_000.0 + i, 59_990.0, 60_020.5) for i, at_s in enumerate(starts)] + [
        PriceSpan("power_usd_kwh", at_s, 300.0, 0.05, 0.05, 0.05) for at_s in starts
    ]
