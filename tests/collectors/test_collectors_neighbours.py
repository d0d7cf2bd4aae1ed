"""MACs from the kernel's neighbour table: tables written by hand in the kernel's form, and one by the kernel itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.neighbours import Neighbours, overflows, parse

HEADER = "IP address       HW type     Flags       HW address            Mask     Device\n"


def row(address: str, mac: str, flags: str = "0x2", hardware: str = "0x1", device: str = "eth0") -> str:
    """net/ipv4/arp.c, arp_format_neigh_entry: "%-16s 0x%-10x0x%-10x%-17s     *        %s"."""
    return f"{address:<16} {hardware:<12}{flags:<12}{mac:<17}     *        {device}\n"


def test_complete_entries_count_whoever_administers_the_number() -> None:
    table = HEADER + row("10.1.0.7", "a0:b1:c2:03:04:05") + row("10.1.0.8", "02:fc:00:00:00:05", flags="0x6")
    assert parse(table) == {"10.1.0.7": "a0b1c2030405", "10.1.0.8": "02fc00000005"}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(row("10.1.0.7", "00:00:00:00:00:00", flags="0x0"), id="incomplete"),
        pytest.param(row("10.1.0.7", "a0:b1:c2:03:04:05", flags="0x0"), id="failed, with the old number"),
        pytest.param(row("10.1.0.7", "a0:b1:c2:03:04:05", flags="0xc"), id="published by ourselves"),
        pytest.param(row("10.1.0.7", "00:00:00:00:00:00"), id="all zero"),
        pytest.param(row("10.1.0.7", "ff:ff:ff:ff:ff:ff"), id="broadcast"),
        pytest.param(row("10.1.0.7", "a0:b1:c2:03:04:05", hardware="0x20"), id="not Ethernet"),
        pytest.param(row("10.1.0.7", "a0:b1:c2:03:3m:05"), id="not hex"),
        pytest.param("10.1.0.7 0x1", id="cut off"),
    ],
)
def test_what_is_no_answer_of_a_machine_is_left_out(entry: str) -> None:
    assert parse(HEADER + entry) == {}


def test_a_number_that_stands_for_several_addresses_is_a_router_or_a_proxy() -> None:
    table = HEADER + "".join(row(f"10.1.0.{n}", "a0:b1:c2:03:04:05") for n in (1, 2, 3))
    assert parse(table + row("10.1.0.9", "a0:b1:c2:00:00:09")) == {"10.1.0.9": "a0b1c2000009"}


def test_an_address_with_two_numbers_has_none() -> None:
    one, other = row("10.1.0.7", "a0:b1:c2:03:04:05"), row("10.1.0.7", "a0:b1:c2:03:04:06", device="eth1")
    assert parse(HEADER + one + other) == {}


def test_a_proxy_is_a_proxy_also_where_one_of_its_entries_is_old() -> None:
    old, new = row("10.1.0.1", "a0:b1:c2:03:04:05"), row("10.1.0.2", "a0:b1:c2:03:04:05", flags="0x0")
    assert parse(HEADER + old + new) == {"10.1.0.1": "a0b1c2030405"}, "an entry without an answer proves nothing"


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    parse(text)
    parse(HEADER + row("10.1.0.7", text))


def test_the_table_is_read_at_most_once_in_a_while(tmp_path: Path) -> None:
    table = tmp_path / "arp"
    table.write_text(HEADER + row("10.1.0.7", "a0:b1:c2:03:04:05"))
    neighbours = Neighbours(table, max_age_s=5.0)
    assert neighbours.mac_of("10.1.0.7", 100.0) == "a0b1c2030405"
    table.write_text(HEADER + row("10.1.0.8", "a0:b1:c2:03:04:06"))
    assert neighbours.mac_of("10.1.0.8", 104.9) is None
    assert neighbours.mac_of("10.1.0.8", 105.0) == "a0b1c2030406"
    assert neighbours.mac_of("10.1.0.7", 105.0) is None


def test_a_table_that_cannot_be_read_knows_nobody(tmp_path: Path) -> None:
    assert Neighbours(tmp_path / "none").mac_of("10.1.0.7", 0.0) is None


def test_the_service_may_read_the_table_that_is_named() -> None:
    """ProcSubset=pid hides all of /proc but the processes: the table must be asked for under one of them."""
    assert str(Neighbours()._table).startswith("/proc/self/")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"), reason="needs root")
def test_the_kernel_writes_what_we_read() -> None:
    script = """
ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && ip addr add 10.9.0.1/24 dev v0
ip neigh add 10.9.0.7 lladdr a0:b1:c2:03:04:05 dev v0 nud reachable
ip neigh add 10.9.0.8 lladdr a0:b1:c2:03:04:06 dev v0 nud permanent
ip neigh add 10.9.0.9 lladdr a0:b1:c2:03:04:06 dev v0 nud stale
ip neigh add proxy 10.9.0.10 dev v0
"""
    read = "from collectors.neighbours import Neighbours; n = Neighbours(); n.mac_of('', 0.0); print(dict(n._macs))"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", f'{script}exec "$0" -c "$1"', sys.executable, read],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode and "not permitted" in done.stderr:
        pytest.skip("no network namespaces here")
    assert done.stdout == "{'10.9.0.7': 'a0b1c2030405'}\n", done.stderr


# --- a table that is full --------------------------------------------------------------------------------------------


def test_overflows_are_added_up_over_all_processors(tmp_path: Path) -> None:
    statistics = tmp_path / "arp_cache"
    statistics.write_text(
        "entries  allocs   unresolved_discards table_fulls\n"
        "00000002 00000008 00000000            0000001f\n"
        "00000002 0000000a 00000000            00000001\n"
    )
    assert overflows(statistics) == 32


@pytest.mark.parametrize("text", ["", "entries\n1\n", "entries table_fulls\n1\n", "entries table_fulls\n1 zz\n"])
def test_a_kernel_that_counts_otherwise_says_nothing(text: str, tmp_path: Path) -> None:
    statistics = tmp_path / "arp_cache"
    statistics.write_text(text)
    assert overflows(statistics) == 0
    assert overflows(tmp_path / "none") == 0
