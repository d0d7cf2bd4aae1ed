"""The console view, drawn from documents and from agents that are there, are not, or talk nonsense."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cycles import small_cycle
from rich.console import Console

from agent import console
from exporters.report import once_document, status_document
from fleet.snapshot import MeterDoubt

AT_S = 1_787_227_200.0  # 2026-08-20T12:00:00Z, by `date -d`


def machine(**changes: Any) -> dict[str, Any]:
    return {
        "id": "hall1-001", "ip": "10.1.0.7", "make": "Antminer", "model": "Antminer S19j Pro", "up": True,
        "fault": None, "state": "mining", "hashrate_hs": 104.2e12, "power_w": 3251.0, "power_source": "metered",
        "temperature_c": {"board_0": 61.0, "inlet": 24.0}, "margin_usd_h": -0.0123, "breakeven_usd_kwh": 0.0587,
        "action": "stop", "reasons": ["MARGIN_NEGATIVE"],
    } | changes  # fmt: skip


SILENT = machine(
    id="hall1-002", model=None, up=False, fault="timeout", hashrate_hs=None, power_w=None, power_source=None,
    temperature_c={}, margin_usd_h=None, breakeven_usd_kwh=None, action="hold", reasons=["UNREACHABLE"],
)  # fmt: skip

MARKET = {
    "hashprice_usd_ph_day": 38.514, "hashprice_btc_ph_day": 0.00055, "reward_btc": 3.145,
    "power_usd_kwh": 0.06, "power_source": "flat",
    "inputs": {
        "btc_usd": {"value": 70000.0, "state": "stale_soft", "age_s": 185.0, "sources": ["coinbase", "kraken"]},
        "difficulty": {"value": 141.67e12, "state": "fresh", "age_s": 12.0, "sources": ["mempool"]},
        "block_fees_btc": {"value": 0.02, "state": "fresh", "age_s": 12.0, "sources": ["mempool"]},
    },
}  # fmt: skip

ADVICE = {
    "decision_id": "d-1", "mode": "advisory", "status": "degraded", "status_reasons": ["INPUT_STALE"],
    "actions": {"run": 900, "stop": 40, "preset": 0, "hold": 60}, "site_power_w": 3.2e6, "shed_w": 128_400.0,
    "quorum": 0.98,
}  # fmt: skip

STATUS: dict[str, Any] = {
    "site": "north", "at": "2026-08-20T12:00:00.000Z",
    "fleet": {
        "machines": 1000, "up": 980, "down": 20, "running": 940, "hashrate_hs": 95.2e15, "hashrate_of": 940,
        "power_w": 3.21e6, "power_of": 980, "power_w_by_source": {"metered": 2.889e6, "reported": 0.321e6},
        "margin_usd_h": 31.2, "margin_of": 940, "shed_w": 128_400.0,
    },
    "market": MARKET, "marginal": [machine(), SILENT], "faults": {"timeout": 12, "refused": 8},
    "pdus": {"count": 30, "up": 29}, "recommendation": {**ADVICE, "valid_until": "2026-08-20T12:02:00.000Z"},
}  # fmt: skip


def changed(*path: str, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(STATUS)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return document


def drawn(document: dict[str, Any], now_s: float = AT_S + 5, width: int = 120, height: int = 40) -> list[str]:
    screen = Console(record=True, width=width, height=height, force_terminal=True, file=io.StringIO())
    screen.print(console.frame(document, now_s, height, width))
    return screen.export_text().splitlines()


def line_with(lines: list[str], word: str) -> str:
    return next(line for line in lines if word in line)


# --- what the picture says -------------------------------------------------------------------------------------------


OUTLOOK = {
    "blocks_left": 284, "change_ratio": -0.125, "change_sigma_ratio": 0.025, "retarget_in_s": 187_440.0,
    "hashprice_usd_ph_day": 36.0, "hashprice_sigma_usd_ph_day": 1.03,
}  # fmt: skip


def test_the_next_retarget_is_told_with_its_sigma_or_not_at_all() -> None:
    told = line_with(drawn(changed("market", "outlook", to=OUTLOOK)), "retarget")
    assert "retarget -12.5% ± 2.5% in 2 d (284 blocks), then 36.00 ± 1.03 USD/PH/day" in told
    unpriced = line_with(drawn(changed("market", "outlook", to=OUTLOOK | {"hashprice_usd_ph_day": None})), "retarget")
    assert unpriced.rstrip().endswith("(284 blocks)")
    silent = drawn(changed("market", "outlook", to=dict.fromkeys(OUTLOOK)))
    assert silent == drawn(STATUS)


PUBLISHED = {
    "usd_ph_day": 36.5, "difference": 0.0552, "alarm": True, "state": "fresh", "age_s": 400.0, "source": "luxor",
}  # fmt: skip


def test_a_published_hashprice_stands_beside_ours_and_alarms_have_a_line_of_their_own() -> None:
    document = changed("market", "published", to=PUBLISHED) | {"alarms": ["our hashprice is off", "btc usd \x1b[2J"]}
    lines = drawn(document)
    assert "published 36.50 USD/PH/day (6 min, luxor), ours is +5.5%" in line_with(lines, "published")
    assert line_with(lines, "alarm").rstrip() == "alarm   our hashprice is off; btc usd ·[2J"
    unknown = PUBLISHED | {"usd_ph_day": None, "difference": None, "alarm": False, "age_s": None}
    told = line_with(drawn(changed("market", "published", to=unknown)), "published")
    assert told.rstrip().endswith("published – USD/PH/day (– s, luxor)")
    assert drawn(STATUS | {"alarms": []}) == drawn(STATUS)


def test_every_part_of_the_status_is_on_the_screen() -> None:
    lines = drawn(STATUS)
    assert "north  2026-08-20 12:00:00 UTC  5 s ago   PDUs 29 of 30 up" in lines[0]
    assert "1000 machines: 980 up, 20 down, 940 running   margin +31.20 USD/h" in line_with(lines, "fleet")
    assert "95.20 PH/s (940 of 1000)   3.21 MW (980 of 1000) 90% metered, 10% reported" in lines[2]
    assert "hashprice 38.51 USD/PH/day   power 0.0600 USD/kWh (flat)" in line_with(lines, "market")
    assert "BTC 70,000 (3 min, coinbase+kraken), difficulty 141.67T (12 s, mempool), fees 0.02" in lines[4]
    advice = line_with(lines, "advice")
    assert "DEGRADED advisory  valid 115 s   run 900  stop 40  hold 60" in advice
    assert "shed 128.4 kW   because INPUT_STALE" in line_with(lines, "shed")
    assert "timeout 12, refused 8" in line_with(lines, "faults")
    row = line_with(lines, "hall1-001").split()
    assert row == [
        "hall1-001", "Antminer", "S19j", "Pro", "3251", "W", "metered", "-0.0123", "0.0587", "stop", "MARGIN_NEGATIVE",
    ]  # fmt: skip


def test_what_somebody_should_look_at_on_pdus_is_told_beside_their_number() -> None:
    document = STATUS | {"pdus": {"count": 30, "up": 29, "doubts": {"near_limit": 2, "frozen": 1}}}
    assert "PDUs 29 of 30 up (near limit 2, frozen 1)" in drawn(document)[0]


def test_every_doubt_about_a_meter_has_its_words() -> None:
    assert set(console.METER_DOUBTS_TOLD) == {(bit.name or "").lower() for bit in MeterDoubt}


def test_the_pdus_that_need_a_look_are_named_and_those_that_only_left_something_out_are_not() -> None:
    troubled = [
        {"id": "10.9.0.1", "fault": "timeout", "doubts": ["near_limit"], "warnings": []},
        {"id": "10.9.0.2", "fault": None, "doubts": ["at_limit"], "warnings": ["total.energy_j.missing"]},
        {"id": "10.9.0.3", "fault": None, "doubts": [], "warnings": ["total.energy_j.missing"]},
    ]
    lines = drawn(STATUS | {"pdus": {"count": 3, "up": 2, "troubled": troubled}})
    assert "PDU 10.9.0.1  timeout, near limit" in line_with(lines, "look at")
    assert "PDU 10.9.0.2  at limit" in line_with(lines, "10.9.0.2")
    assert not any("10.9.0.3" in line for line in lines)


def test_who_has_no_margin_and_who_needs_a_look_is_told_in_words() -> None:
    lines = drawn(STATUS)
    assert not any("look at" in line or "missing:" in line for line in lines)
    trouble = {"ip": "10.1.0.9", "wrong_pool": None, "conflict_with": None, "suspect": [], "errors": []}
    document = STATUS | {
        "unpriced": {"unreachable": 20, "wrong_pool": 1},
        "troubled": [
            trouble | {"id": "a\x1b[2J", "wrong_pool": "evil.example", "errors": ["111: fan 1 is lost"]},
            trouble
            | {
                "id": "b",
                "conflict_with": "10.1.0.7",
                "suspect": ["power", "work"],
                "meter_doubt": ["hash_without_power"],
            },
            *(trouble | {"id": f"c{i}", "errors": ["1: x"]} for i in range(3)),
        ],
    }
    lines = drawn(document)
    assert "missing: unreachable 20, wrong_pool 1" in line_with(lines, "margin  ")
    assert "a·[2J  works for evil.example; 111: fan 1 is lost" in line_with(lines, "look at")
    told = "b  its name also answers at 10.1.0.7; doubtful power, work; its meter: dark while it hashes"
    assert told in line_with(lines, "doubtful")
    assert "and 2 more" in line_with(lines, "more")
    assert len(drawn(document, height=20)) <= 20


def test_an_id_that_is_only_an_address_says_so() -> None:
    screen = Console(record=True, width=160, file=io.StringIO())
    console.show_once(once_document(small_cycle()), screen)
    text = screen.export_text()
    assert "c3 (provisional)" in text
    assert "a1 (" not in text


def test_it_draws_what_the_agent_really_says() -> None:
    cycle = small_cycle()
    document = json.loads(json.dumps(status_document(cycle, cycle.at_s + 90)))
    lines = drawn(document, cycle.at_s + 1)
    assert f"{len(cycle.site)} machines" in line_with(lines, "fleet")
    assert "valid 89 s" in line_with(lines, "advice")
    assert not any("nan" in line.lower().split() for line in lines)
    screen = Console(record=True, width=160, file=io.StringIO())
    console.show_once(json.loads(json.dumps(once_document(cycle))), screen)
    assert cycle.snapshot.ids[0] in screen.export_text()


def test_unknown_is_a_dash_and_never_zero() -> None:
    row = line_with(drawn(STATUS), "hall1-002").split()
    assert row == ["hall1-002", "–", "–", "W", "–", "–", "hold", "UNREACHABLE"]
    lines = drawn(changed("fleet", "hashrate_hs", to=None))
    assert "– H/s" in lines[2]
    assert "hashprice – USD/PH/day" in line_with(drawn(changed("market", "hashprice_usd_ph_day", to=None)), "market")
    assert "shed – W" in line_with(drawn(changed("recommendation", "shed_w", to=None)), "shed")
    assert (
        "BTC – (– s, no source)"
        in drawn(
            changed("market", "inputs", "btc_usd", to={"value": None, "state": "missing", "age_s": None, "sources": []})
        )[4]
    )


@pytest.mark.parametrize(
    ("valid_until", "now_s", "said"),
    [
        ("2026-08-20T12:02:00.000Z", AT_S + 119, "valid 1 s"),
        ("2026-08-20T12:02:00.000Z", AT_S + 121, "expired"),
        (None, AT_S, "no lease"),
    ],
)
def test_the_lease_counts_down_to_its_end(valid_until: str | None, now_s: float, said: str) -> None:
    line = line_with(drawn(changed("recommendation", "valid_until", to=valid_until), now_s), "advice")
    assert f"advisory  {said}   run" in line


def test_an_old_status_says_how_old_it_is() -> None:
    assert "10 min ago" in drawn(STATUS, AT_S + 600)[0]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24), (120, 40), (200, 60)])
def test_it_fits_the_screen(width: int, height: int) -> None:
    many = changed("marginal", to=[machine(id=f"a-very-long-machine-name-{i}") for i in range(100)])
    lines = drawn(many, width=width, height=height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert sum("machine-name" in line or "a-very" in line for line in lines) == height - 10


def test_everything_needed_is_readable_at_80_columns() -> None:
    lines = drawn(STATUS, width=80, height=24)
    for words in ("valid 115 s", "shed 128.4 kW", "+31.20 USD/h", "BTC 70,000 (3 min, coinbase+kraken)"):
        assert any(words in line for line in lines), words
    row = line_with(lines, "hall1-001").split()
    assert row == ["hall1-001", "3251", "W", "metered", "-0.0123", "0.0587", "stop", "MARGIN_NEGATIVE"]


def test_device_texts_are_neither_markup_nor_escape_sequences() -> None:
    evil = machine(id="[bold red]m[/]", model="x\x1b[2Jy\r\nz", reasons=["[link=http://x]"])
    text = "\n".join(drawn(changed("marginal", to=[evil]), width=200))
    assert "[bold red]m[/]" in text
    assert "x·[2Jy··z" in text
    assert "[link=http://x]" in text


def test_once_lists_every_machine_and_pdu() -> None:
    screen = Console(record=True, width=160, file=io.StringIO())
    pdu = {
        "id": "p1",
        "model": "AP8941",
        "profile": "apc",
        "up": False,
        "fault": "timeout",
        "power_w": None,
        "outlets": [],
    }
    document = {
        "site": "north", "at": STATUS["at"], "machines": [machine(), SILENT], "pdus": [pdu], "market": MARKET,
        "recommendation": ADVICE,
    }  # fmt: skip
    console.show_once(document, screen)
    lines = screen.export_text().splitlines()
    assert "10.1.0.7" in line_with(lines, "hall1-001")
    assert "104.20 TH/s" in line_with(lines, "hall1-001")
    assert "61 °C" in line_with(lines, "hall1-001")
    assert "timeout, UNREACHABLE" in line_with(lines, "hall1-002")
    assert "p1  timeout  – W" in line_with(lines, "PDU")
    assert "DEGRADED" in line_with(lines, "advice")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (console.hashrate(1.5e18), "1.50 EH/s"), (console.hashrate(104.2e12), "104.20 TH/s"),
        (console.hashrate(0.0), "0 H/s"), (console.power(9999.0), "9999 W"), (console.power(10_000.0), "10.0 kW"),
        (console.power(3.21e6), "3.21 MW"), (console.age(119.0), "119 s"), (console.age(120.0), "2 min"),
        (console.age(7200.0), "2 h"), (console.age(3 * 86_400.0), "3 d"), (console.age(None), "– s"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


# --- fetching --------------------------------------------------------------------------------------------------------


@contextmanager
def agent_that_answers(*bodies: bytes, status: int = 200, then: threading.Event | None = None) -> Iterator[str]:
    """An agent on a free port with one body per request, the last one again and again; `then` is set after them."""
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            body = bodies[min(asked, len(bodies) - 1)] if self.path == "/status.json" else b""
            asked += 1
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)
            if then is not None and asked >= len(bodies):
                then.set()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def watched(url: str, terminal: bool = False, **how: Any) -> tuple[int, str]:
    screen = Console(record=True, width=120, height=30, force_terminal=terminal, file=io.StringIO())
    code = console.watch(url, console=screen, **how)
    return code, screen.export_text()


def test_once_shows_the_agent_and_returns_0() -> None:
    with agent_that_answers(json.dumps(STATUS).encode()) as url:
        code, text = watched(url, once=True)
    assert code == 0
    assert "north" in text


def test_once_without_an_agent_says_so_and_returns_1() -> None:
    with agent_that_answers(b"") as url:
        pass  # now nobody listens there
    code, text = watched(url, once=True)
    assert code == 1
    assert f"No status from the agent at {url}: Connection refused." in text


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"not json", 200, "its answer is no status"),
        (b"[3]", 200, "its answer is no status"),
        (b"{}", 200, "it has not finished its first look"),
        (b'{"site": "x"}', 200, "its answer is no status"),
        (json.dumps(changed("marginal", to=[3])).encode(), 200, "its answer is no status"),
        (b"\xff\xfe\x00", 200, "its answer is no status"),
        (b"", 503, "it says 503 Service Unavailable"),
        (b"", 401, "it says 401 Unauthorized"),
    ],
)
def test_nonsense_is_no_agent(body: bytes, status: int, said: str) -> None:
    with agent_that_answers(body, status=status) as url:
        code, text = watched(url, once=True)
    assert code == 1
    assert said in text
    assert "Traceback" not in text


def test_an_address_that_is_none_is_no_agent() -> None:
    assert watched("file:///etc/passwd", once=True)[0] == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_the_live_view_outlasts_an_agent_that_fails(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(console, "REFRESH_S", 0.01)
    stop = threading.Event()
    with agent_that_answers(json.dumps(STATUS).encode(), b"nonsense", then=stop) as url:
        code, text = watched(url, terminal, until=stop)
    assert code == 0
    assert stop.is_set()
    assert "Traceback" not in text


def test_ctrl_c_ends_the_live_view_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(url: str) -> console.Document:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "fetch", interrupt)
    assert watched("http://127.0.0.1:1", terminal=True)[0] == 0
