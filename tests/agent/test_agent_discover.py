"""`hashwatt discover`: rows and ids from findings by hand, and the whole command against an emulated farm."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent import cli, discover
from agent.config import load
from agent.discover_view import progress, show_table
from agent.discovered import Duplicate, document, duplicates, inventory_csv, merged, miners_toml, ranges, rows_of
from agent.targets import Span, parse_target
from collectors import discovery
from collectors.discovery import Endpoint, Finding, Found
from collectors.miners.native import MAC_OF_NEIGHBOUR
from fleet.readings import Fault, FaultKind, MinerReading
from fleet.site import parse_inventory
from hil.control import FarmProcess
from hil.loopback import silent_listener
from hil.replies import machine_mac

BLOCK = str(100 + os.getpid() % 60)
"""A 127.BLOCK/16 of this process, so that test runs side by side do not share addresses."""


def machine(address: str, port: int = 4028, **said: object) -> Found:
    make = str(said.pop("make", "Antminer"))
    reading = MinerReading(driver="antminer", make=make, **said)  # type: ignore[arg-type]
    return Found(Endpoint(address, port), Finding(make, reading))


def fault(address: str, kind: FaultKind, make: str | None = None, detail: str = "") -> Found:
    return Found(Endpoint(address), Finding(make, fault=Fault(kind, detail)))


# --- rows and ids ----------------------------------------------------------------------------------------------------


def test_the_id_is_the_mac_else_the_serial_else_the_address_for_now() -> None:
    found = [
        machine("10.1.0.9", serial="HKY123"),
        machine("10.1.0.10"),
        machine("10.1.0.8", mac="a0b1c2030405", serial="HKY122"),
        machine("10.1.0.7", port=4029),
    ]
    rows = rows_of(found, {})
    assert [(row.address, row.id, row.provisional) for row in rows] == [
        ("10.1.0.7:4029", "ip-10-1-0-7-4029", True),
        ("10.1.0.8", "a0b1c2030405", False),
        ("10.1.0.9", "HKY123", False),
        ("10.1.0.10", "ip-10-1-0-10", True),
    ]


def test_a_mac_says_where_it_comes_from() -> None:
    found = [
        machine("10.1.0.1", mac="a0b1c2000001"),
        machine("10.1.0.2"),
        machine("10.1.0.3", mac="a0b1c2000003", warnings=(MAC_OF_NEIGHBOUR,)),
        fault("10.1.0.4", FaultKind.DENIED),
    ]
    neighbours = {"10.1.0.1": "ffffff000001", "10.1.0.2": "a0b1c2000002", "10.1.0.4": "a0b1c2000004"}
    assert [(row.mac, row.mac_source) for row in rows_of(found, neighbours)] == [
        ("a0b1c2000001", "api"),
        ("a0b1c2000002", "neighbour"),
        ("a0b1c2000003", "neighbour"),
        ("a0b1c2000004", "neighbour"),
    ]


def test_a_neighbour_before_several_machines_is_nobodys_mac() -> None:
    """A proxy answers for one address after the other; in no single table does it show."""
    found = [machine("10.1.0.1"), machine("10.1.0.2"), machine("10.1.0.3", mac="a0b1c2000003"), machine("10.1.0.4")]
    neighbours = {"10.1.0.1": "a0b1c2999999", "10.1.0.2": "a0b1c2999999", "10.1.0.4": "a0b1c2000003"}
    rows = rows_of(found, neighbours)
    assert [row.mac for row in rows] == [None, None, "a0b1c2000003", None]
    assert not any(row.duplicate for row in rows)


def test_the_same_mac_or_serial_at_two_addresses_is_marked_and_named() -> None:
    rows = rows_of(
        [
            machine("10.1.0.1", mac="a0b1c2000001", serial="A"),
            machine("10.1.0.2", mac="a0b1c2000001", serial="B"),
            machine("10.1.0.3", mac="a0b1c2000003", serial="B"),
            machine("10.1.0.4", mac="a0b1c2000004", serial="D"),
        ],
        {},
    )
    assert [row.duplicate for row in rows] == [True, True, True, False]
    assert duplicates(rows) == [
        Duplicate("MAC", "a0b1c2000001", ("10.1.0.1", "10.1.0.2")),
        Duplicate("serial", "B", ("10.1.0.2", "10.1.0.3")),
    ]


def test_numbers_are_those_of_the_reading_in_the_units_of_their_names() -> None:
    (row,) = rows_of([machine("10.1.0.1", hashrate_hs=104.2e12, reported_power_w=3250.0, firmware="2022")], {})
    assert (row.hashrate_th, row.power_w, row.firmware, row.driver) == (104.2, 3250.0, "2022", "antminer")


def test_what_a_machine_says_is_made_printable() -> None:
    (row,) = rows_of([machine("10.1.0.1", model="S19\x1b[2J\u202e\n", serial="\x00AB\x07")], {})
    assert row.model == "S19·[2J··"
    assert row.serial == "·AB·"


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_has_the_documented_keys_and_lists_also_who_was_not_read() -> None:
    rows = rows_of([machine("10.1.0.1"), fault("10.1.0.2", FaultKind.DENIED, "vnish", "no login")], {})
    machines = document(rows, None, is_complete=True)["machines"]
    assert list(machines[0]) == [
        "address", "id", "provisional", "make", "model", "firmware", "mac", "mac_source", "serial", "driver",
        "hashrate_th", "power_w", "fault", "detail", "duplicate",
    ]  # fmt: skip
    assert (machines[1]["make"], machines[1]["fault"], machines[1]["detail"]) == ("vnish", "denied", "no login")


# --- inventory CSV ---------------------------------------------------------------------------------------------------


def test_the_inventory_is_read_back_with_the_ids_of_the_rows() -> None:
    rows = rows_of(
        [
            machine("10.1.0.1", mac="a0b1c2000001", serial="A", model="S19 Pro"),
            machine("10.1.0.2", serial="B"),
            machine("10.1.0.3", model='M50 "x", y'),
            fault("10.1.0.4", FaultKind.REFUSED),
        ],
        {},
    )
    machines = parse_inventory(inventory_csv(rows))
    assert [m.id for m in machines] == [row.id for row in rows[:3]]
    assert [m.is_provisional for m in machines] == [False, False, True]
    assert [(m.address, m.mac, m.serial, m.model) for m in machines] == [
        ("10.1.0.1", "a0b1c2000001", "A", "S19 Pro"),
        ("10.1.0.2", None, "B", None),
        ("10.1.0.3", None, None, 'M50 "x", y'),
    ]


def test_an_identity_of_several_addresses_names_none_of_them() -> None:
    found = [
        machine("10.1.0.1", mac="a0b1c2000001"),
        machine("10.1.0.2", mac="a0b1c2000001", serial="B"),
        machine("10.1.0.3", mac="a0b1c2000003", serial="C"),
        machine("10.1.0.4", mac="a0b1c2000004", serial="C"),
    ]
    machines = parse_inventory(inventory_csv(rows_of(found, {})))
    assert [m.id for m in machines] == ["ip-10-1-0-1", "B", "a0b1c2000003", "a0b1c2000004"]
    assert [m.serial for m in machines] == [None, "B", None, None]


def test_a_serial_that_is_the_id_of_another_machine_is_nobodys() -> None:
    """The inventory must load, whatever a stranger calls itself; and the other machine keeps its name."""
    found = [
        machine("10.1.0.1", serial="a0b1c2000002"),
        machine("10.1.0.2", mac="a0b1c2000002"),
        machine("10.1.0.3", serial="ip-10-1-0-4"),
        machine("10.1.0.4"),
        machine("10.1.0.5", mac="a0b1c2000005", serial="a0b1c2000005"),
    ]
    machines = parse_inventory(inventory_csv(rows_of(found, {})))
    assert [m.id for m in machines] == ["ip-10-1-0-1", "a0b1c2000002", "ip-10-1-0-3", "ip-10-1-0-4", "a0b1c2000005"]
    assert machines[4].serial == "a0b1c2000005"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    evil = f"{start}HYPERLINK(1)"
    text = inventory_csv(rows_of([machine("10.1.0.1", model=evil, serial=evil)], {}))
    (line,) = list(csv.DictReader(io.StringIO(text)))
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in line.values())
    (back,) = parse_inventory(text)
    assert back.id == "ip-10-1-0-1" or start in "\t\r"  # those are not printable and gone before


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_whatever_machines_say_the_inventory_can_be_read(said: list[tuple[str, str]]) -> None:
    found = [machine(f"10.1.0.{n}", model=model, serial=serial) for n, (model, serial) in enumerate(said, start=1)]
    machines = parse_inventory(inventory_csv(rows_of(found, {})))
    assert [m.address for m in machines] == [each.endpoint.host for each in found]


# --- [[miners]] ------------------------------------------------------------------------------------------------------


def configured(folder: Path, toml: str) -> list[tuple[str, bool, str | None]]:
    """Every address that a configuration with these sections would poll: address, insecure, credential."""
    (folder / "pw").write_text("secret")
    (folder / "pw").chmod(0o600)
    path = folder / "hashwatt.toml"
    path.write_text(f'[site]\nname = "x"\n[credentials.hall1]\npassword_file = "pw"\n{toml}')
    return [
        (host if span.port is None else f"{host}:{span.port}", section.insecure, section.credential)
        for section in load(path).miners
        for text in section.targets
        for span in [parse_target(text)]
        for host in span.hosts()
    ]


def test_the_sections_name_every_machine_once(tmp_path: Path) -> None:
    hosts = ["10.1.0.7", "10.1.0.8", "10.1.0.9", "10.1.1.0", "192.168.3.4"]
    found = [*map(machine, hosts), machine("8.8.4.4"), machine("10.1.0.5", port=4029)]
    toml = miners_toml(rows_of([*found, fault("10.1.0.77", FaultKind.REFUSED)], {}), "hall1")
    assert configured(tmp_path, toml) == [
        *((host, False, "hall1") for host in hosts),
        ("10.1.0.5:4029", False, "hall1"),
        ("8.8.4.4", True, "hall1"),
    ]
    assert '"10.1.0.7-10.1.0.9"' in toml, "neighbours are one target"


def test_nothing_found_is_no_section(tmp_path: Path) -> None:
    assert configured(tmp_path, miners_toml([])) == []


@given(st.sets(st.integers(min_value=0x0A010000, max_value=0x0A010040)))
def test_ranges_name_exactly_the_addresses(numbers: set[int]) -> None:
    targets = ranges(Span(4, n, n) for n in numbers)
    assert sorted(
        n for text in targets for n in range(parse_target(text).first, parse_target(text).last + 1)
    ) == sorted(numbers)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), st.sampled_from([None, 4028, 4029]))))
def test_addresses_that_are_named_twice_are_asked_once(parts: list[tuple[int, int, int | None]]) -> None:
    spans = [Span(4, first, first + more, port) for first, more, port in parts]
    wanted = {(n, span.port or 4028) for span in spans for n in range(span.first, span.last + 1)}
    asked = [(n, span.port or 4028) for span in merged(spans) for n in range(span.first, span.last + 1)]
    assert sorted(asked) == sorted(wanted)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def farm() -> Iterator[FarmProcess]:
    mix = ("--mix", "Antminer S19j Pro=0.5", "--mix", "WhatsMiner M50=0.5")
    with FarmProcess("--machines", "4", "--pdus", "0", "--block", BLOCK, "--boot-s", "0", *mix) as process:
        yield process


def test_every_machine_of_a_farm_is_found(farm: FarmProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["discover", f"127.{BLOCK}.0.0/29", f"127.{BLOCK}.0.2-3", "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    truth = farm.control.truth()
    assert code == 0
    assert (found["scanned"], found["answered"], found["identified"], found["complete"]) == (6, 6, 4, True)
    rows = {row["address"]: row for row in found["machines"]}
    for n, (address, model) in enumerate(zip(truth["address"], truth["model"], strict=True)):
        make, _, name = model.partition(" ")
        row = rows.pop(address)
        assert row["make"] == make
        assert row["model"].startswith(name)
        if make == "WhatsMiner":
            mac = machine_mac(n).replace(":", "").lower()
            assert (row["id"], row["mac"], row["mac_source"]) == (mac, mac, "api")
        else:
            assert (row["id"], row["provisional"]) == ("ip-" + address.replace(".", "-"), True)
    assert {row["fault"] for row in rows.values()} == {"refused"}
    assert "6 of 6 addresses asked, 6 answered, 4 machines identified" in said.err


def test_the_table_shows_machines_and_counts_strangers(farm: FarmProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["discover", f"127.{BLOCK}.0.0/29"]) == 0
    said = capsys.readouterr()
    assert said.out.count("S19j Pro") == said.out.count("M50") == 2
    assert f"127.{BLOCK}.0.6" not in said.out
    assert "2 refused every question" in said.err
    assert "\x1b" not in said.out + said.err, "a pipe gets no colours and no bar"


def test_the_output_is_a_configuration_or_an_inventory(
    farm: FarmProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["discover", f"127.{BLOCK}.0.0/29", "--toml"]) == 0
    assert [host for host, *_ in configured(tmp_path, capsys.readouterr().out)] == farm.control.truth()["address"]
    assert cli.main(["discover", f"127.{BLOCK}.0.0/29", "--csv"]) == 0
    assert [m.address for m in parse_inventory(capsys.readouterr().out)] == farm.control.truth()["address"]


def test_nobody_there_is_exit_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "KNOCK_S", 0.05)
    with silent_listener(f"127.{BLOCK}.9.9", 0) as listener:
        host, port = listener.getsockname()
        assert cli.main(["discover", f"{host}:{port}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["machines"] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["8.8.8.0/24"], "outside private address space; --insecure permits it"),
        (["169.254.0.0/24", "--insecure"], "link-local"),
        (["10.0.0.0/8"], "at most 131072"),
        (["10.1.0.7/22"], "host bits"),
        (["hall1"], "not an IP address"),
        (["10.1.0.0/24", "--connections", "1"], "--connections 1 is not between 2 and"),
        (["10.1.0.0/24", "--connections", "99999999"], "is not between"),
        (["10.1.0.0/24", "--credential", "x"], "cannot read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["discover", *words, "--config", str(tmp_path / "none.toml")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert complaint in said.err


def test_the_login_is_the_operators_and_only_the_one_that_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pw").write_text("secret")
    (tmp_path / "pw").chmod(0o600)
    config = tmp_path / "hashwatt.toml"
    config.write_text('[site]\nname = "x"\n[credentials.hall1]\nuser = "op"\npassword_file = "pw"\n')
    given: list[object] = []

    def native_look(credential: object = None) -> discovery.Look:
        given.append(credential)

        async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
            return Finding("Made")

        return look

    monkeypatch.setattr(discovery, "native_look", native_look)
    target = f"127.{BLOCK}.8.8"
    assert cli.main(["discover", target, "--config", str(config)]) == 0
    assert cli.main(["discover", target, "--config", str(config), "--credential", "hall1"]) == 0
    assert given == [None, ("op", "secret")]
    assert cli.main(["discover", target, "--config", str(config), "--credential", "hall2"]) == 2
    said = capsys.readouterr()
    assert "there is no [credentials.hall2]; known: hall1" in said.err
    assert "secret" not in said.out + said.err


def test_ctrl_c_prints_what_was_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def native_look(credential: object = None) -> discovery.Look:
        async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
            if endpoint.host.endswith(".1"):
                return machine(endpoint.host).finding
            await asyncio.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
            raise AssertionError

        return look

    monkeypatch.setattr(discovery, "native_look", native_look)
    assert cli.main(["discover", f"127.{BLOCK}.7.1-2", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["complete"] is False
    assert [row["address"] for row in found["machines"]] == [f"127.{BLOCK}.7.1"]
    assert "interrupted" in said.err


def test_macs_are_taken_from_the_kernel_while_it_still_has_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "arp"
    host = f"127.{BLOCK}.6.1"
    table.write_text(f"IP address\n{host}   0x1         0x2         a0:b1:c2:03:04:05     *        eth0\n")
    monkeypatch.setattr("collectors.neighbours.Neighbours.__init__.__defaults__", (table, 5.0))

    def native_look(credential: object = None) -> discovery.Look:
        async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
            return machine(endpoint.host).finding

        return look

    monkeypatch.setattr(discovery, "native_look", native_look)
    assert cli.main(["discover", host, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["machines"]
    assert (row["id"], row["mac_source"], row["provisional"]) == ("a0b1c2030405", "neighbour", False)


# --- the view --------------------------------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1000) as show:
        for second in range(25):
            show(100.0 + second, 40 * second, "3 answered")
    assert capsys.readouterr().err == "400 of 1,000 addresses, 3 answered\n800 of 1,000 addresses, 3 answered\n"


def test_the_table_takes_no_markup_from_machines(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(rows_of([machine("10.1.0.1", model="[red]S19[/red]", serial="A"), machine("10.1.0.2", serial="A")], {}))
    said = capsys.readouterr().out
    assert "[red]S19[/red]" in said
    assert said.count("DUPLICATE") == 2


def test_a_narrow_terminal_keeps_address_and_id_whole(capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of([machine("192.168.111.222", model="S19 XP", firmware="Tue Dec  6 16:12:30 CST 2022")], {})
    show_table(rows, Console(width=80))
    said = capsys.readouterr().out
    assert "ip-192-168-111-222" in said
    assert "CST" not in said


def test_a_bound_beyond_the_soft_limit_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[object] = []
    monkeypatch.setattr(discover.resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(discover.resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert discover._bound(100) == 100
    assert limits == []
    assert discover._bound(512) == 512
    assert limits == [(512 + discover.SPARE_DESCRIPTORS, 4096)]
