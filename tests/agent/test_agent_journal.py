"""What the journal acknowledged is there after any end; what it cannot keep it says so."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agent.journal import APPLICATION, Journal, JournalError
from fleet.curtailment import Memory
from fleet.site import Machine


def memory(decision: int, n: int = 4) -> Memory:
    return Memory(
        ids=tuple(f"m{i}" for i in range(n)),
        stopped=np.arange(n) % 2 == 0,
        loss_usd=np.linspace(0.0, 1.0, n),
        gain_usd=np.full(n, np.nan),
        since_s=np.full(n, float(decision)),
        at_s=float(decision),
        decision=decision,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hashwatt.db"


def test_an_empty_journal_remembers_nothing(path: Path) -> None:
    journal = Journal.open(path)
    assert journal.load_memory() is None
    assert journal.load_accumulators() is None
    assert journal.decisions() == ()
    assert journal.decision("d1") is None
    assert journal.moved_aside is None
    journal.close()


def test_a_turn_is_there_after_a_restart(path: Path) -> None:
    first = Journal.open(path)
    first.commit_decision(memory(1), b"why", "d1", 1.0)
    first.commit_decision(memory(2), b"because", "d2", 2.0)
    first.close()
    second = Journal.open(path)
    restored = second.load_memory()
    assert restored is not None
    assert restored.decision == 2
    np.testing.assert_array_equal(restored.stopped, [True, False, True, False])
    assert [(row.decision_id, row.record) for row in second.decisions()] == [("d2", b"because"), ("d1", b"why")]
    found = second.decision("d1")
    assert found is not None
    assert (found.at_s, found.record) == (1.0, b"why")
    second.close()


def test_a_kept_decision_keeps_its_first_record(path: Path) -> None:
    journal = Journal.open(path)
    journal.commit_decision(memory(1), b"first", "d1", 1.0)
    journal.commit_decision(memory(2), b"second", "d1", 2.0)
    assert [row.record for row in journal.decisions()] == [b"first"]
    restored = journal.load_memory()
    assert restored is not None
    assert restored.decision == 2
    journal.close()


def test_accumulators_and_memory_without_a_turn_are_kept(path: Path) -> None:
    journal = Journal.open(path)
    journal.save_memory(memory(5))
    journal.save_accumulators(
        ("a", "b"), {"steady_power_w": np.array([3000.0, np.nan]), "source": np.array([1, 0], np.uint8)}
    )
    journal.close()
    journal = Journal.open(path)
    kept, restored = journal.load_accumulators(), journal.load_memory()
    assert kept is not None
    assert restored is not None
    assert kept.ids == ("a", "b")
    np.testing.assert_array_equal(kept.columns["steady_power_w"], [3000.0, np.nan])
    assert kept.columns["source"].dtype == np.uint8
    assert restored.at_s == 5.0
    assert (kept.found, dict(kept.texts)) == ((), {})
    found, texts = (Machine("m", address="10.0.0.7"),), {"mac": ("", "0200000000aa"), "way": ("stock", "")}
    journal.save_accumulators(("a", "m"), {}, found, texts)
    kept = journal.load_accumulators()
    assert kept is not None
    assert (kept.found, dict(kept.texts)) == (found, texts)
    journal.close()


def test_durability_is_what_the_two_connections_say(path: Path) -> None:
    """FULL (2) for decisions and NORMAL (1) for accumulators, both on one WAL."""
    journal = Journal.open(path)
    for name, level in (("FULL", 2), ("NORMAL", 1)):
        with journal._file.transaction(name) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == level
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    journal.close()


WRITER = """
import sys
from agent.journal import Journal
from tests_journal_memory import memory
journal = Journal.open(sys.argv[1])
last = journal.load_memory()
number = 0 if last is None else last.decision
while True:
    number += 1
    journal.commit_decision(memory(number), b"r" * 3000, f"d{number}", float(number))
    print(number, flush=True)
"""


def test_twenty_kills_lose_nothing_acknowledged(path: Path, tmp_path: Path) -> None:
    helper = tmp_path / "tests_journal_memory.py"
    source = Path(__file__).read_text()
    start, end = source.index("def memory("), source.index("@pytest.fixture")
    helper.write_text("import numpy as np\nfrom fleet.curtailment import Memory\n\n" + source[start:end])
    root = str(Path(__file__).parents[2])
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE, cwd=tmp_path, env={"PYTHONPATH": f"{root}:{tmp_path}"},
        )  # fmt: skip
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # at least one commit, whatever the machine's load
        time.sleep(chance.uniform(0.0, 0.05))
        writer.kill()
        lines += writer.stdout.read().split(b"\n")
        writer.wait()
        told = [int(line) for line in lines if line.strip()]
        assert told[0] in (acknowledged + 1, acknowledged + 2), "a commit was lost or invented"
        acknowledged = told[-1]
    journal = Journal.open(path)
    assert journal.moved_aside is None
    kept = {row.decision_id for row in journal.decisions(limit=1_000_000)}
    assert kept >= {f"d{number}" for number in range(1, acknowledged + 1)}
    restored = journal.load_memory()
    assert restored is not None
    assert restored.decision >= acknowledged
    journal.close()


@pytest.mark.parametrize("damage", ["not a database at all, only text" * 300, None])
def test_a_damaged_file_is_moved_aside_and_the_agent_starts_empty(path: Path, damage: str | None) -> None:
    journal = Journal.open(path)
    for number in range(40):
        journal.commit_decision(memory(number), b"r" * 5000, f"d{number}", float(number))
    journal.close()
    if damage is None:
        content = bytearray(path.read_bytes())
        content[4096:40960] = b"\xa5" * 36864
        path.write_bytes(content)
    else:
        path.write_text(damage)
    for nth in (1, 2, 3, 4, 5):
        journal = Journal.open(path)
        assert journal.moved_aside == (path.with_name(f"hashwatt.db.corrupt-{nth}"))
        assert journal.load_memory() is None
        journal.commit_decision(memory(1), b"r", "d1", 1.0)
        journal.close()
        path.write_text("damaged once more" * 1000)
        path.with_name("hashwatt.db-wal").unlink(missing_ok=True)
    kept = sorted(old.name for old in path.parent.glob("*.corrupt-*"))
    assert kept == [f"hashwatt.db.corrupt-{nth}" for nth in (3, 4, 5)]


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA user_version = 17",
        "PRAGMA application_id = 5",
        "ALTER TABLE state RENAME COLUMN content TO cOntenu",
        "DROP TABLE state; CREATE TABLE state (name TEXT)",
    ],
)
def test_damage_that_leaves_a_sound_database_is_seen_at_the_start(path: Path, damage: str) -> None:
    Journal.open(path).close()
    with sqlite3.connect(path) as raw:
        raw.executescript(damage)
    raw.close()
    journal = Journal.open(path)
    assert journal.moved_aside is not None
    journal.close()


def test_damage_met_in_use_is_said_to_the_next_start(path: Path) -> None:
    journal = Journal.open(path)
    journal.commit_decision(memory(1), b"r", "d1", 1.0)
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE state RENAME COLUMN content TO elsewhere")
    raw.close()
    with pytest.raises(JournalError, match="the next start moves it aside"):
        journal.load_memory()
    journal.close()
    with sqlite3.connect(path) as raw:
        raw.execute("ALTER TABLE state RENAME COLUMN elsewhere TO content")  # looks sound again
    raw.close()
    journal = Journal.open(path)
    assert journal.moved_aside is not None
    journal.close()
    journal = Journal.open(path)
    assert journal.moved_aside is None
    journal.close()


def test_damaged_content_is_missing_not_wrong(path: Path) -> None:
    journal = Journal.open(path)
    journal.commit_decision(memory(3), b"r", "d1", 1.0)
    journal.close()
    with sqlite3.connect(path) as raw:
        (content,) = raw.execute("SELECT content FROM state WHERE name = 'memory'").fetchone()
        torn = content[:20] + bytes([content[20] ^ 4]) + content[21:]
        raw.execute("UPDATE state SET content = ?", (torn,))
    raw.close()
    journal = Journal.open(path)
    assert journal.load_memory() is None
    assert journal.lost == ["memory"]
    journal.close()


def test_a_newer_schema_is_refused_in_one_line_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
        raw.execute(f"PRAGMA application_id = {APPLICATION + 99}")
    raw.close()
    with pytest.raises(JournalError, match=r"schema 99.*newer Hashwatt") as caught:
        Journal.open(path)
    assert "\n" not in str(caught.value)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == []
    raw.close()


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE invoices (total REAL)")
    raw.close()
    with pytest.raises(JournalError, match="another program"):
        Journal.open(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]
    raw.close()


def test_flipped_bits_and_cut_files_never_stop_the_agent_and_never_change_a_number(tmp_path: Path) -> None:
    """80 damaged copies; every fifth with all its damage in the header, every tenth cut short."""
    path = tmp_path / "hashwatt.db"
    journal = Journal.open(path)
    noise = random.Random(3)
    for number in range(20):
        journal.commit_decision(memory(number), noise.randbytes(3000), f"d{number}", float(number))
    journal.close()
    sound = path.read_bytes()
    moved_aside = kept = 0
    for nth in range(80):
        folder = tmp_path / str(nth)
        folder.mkdir()
        path = folder / "hashwatt.db"
        damaged = bytearray(sound)
        for _ in range(noise.randint(1, 64)):
            bit = noise.randrange(8 * (100 if nth % 5 == 0 else len(damaged)))
            damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged[: noise.randrange(len(damaged))] if nth % 10 == 9 else damaged)
        for start in range(4):  # damage that only one page shows is met by use, and dealt with at the next start
            journal = Journal.open(path)
            moved_aside += journal.moved_aside is not None
            try:
                restored = journal.load_memory()
                if restored is not None and restored.decision < 90:
                    kept += 1
                    assert restored.decision == 19
                    np.testing.assert_array_equal(restored.loss_usd, memory(19).loss_usd)
                journal.decisions()
                journal.commit_decision(memory(90 + start), b"r", f"d{90 + start}", 90.0)
                is_sound = True
            except JournalError:
                is_sound = False
            journal.close()
            if is_sound and start:
                break
        assert is_sound
    assert moved_aside > 10, "no damage was seen: does the check run?"
    assert kept > 10, "everything was thrown away"


def test_old_decisions_leave_before_the_cap_and_new_ones_go_on(path: Path) -> None:
    cap = 2 << 20
    journal = Journal.open(path, max_bytes=cap)
    noise = random.Random(1)
    for number in range(400):
        journal.commit_decision(memory(number), noise.randbytes(20_000), f"d{number:04}", float(number))
    kept = journal.decisions(limit=1000)
    assert kept[0].decision_id == "d0399"
    assert 30 <= len(kept) < 100  # 0.7 of 2 MiB holds some 60 rows of 20 kB and a page each
    assert path.stat().st_size <= cap
    journal.close()


def test_a_full_file_is_an_error_and_heals_when_there_is_room(path: Path) -> None:
    journal = Journal.open(path, max_bytes=1 << 20)
    journal.commit_decision(memory(1), b"r", "d1", 1.0)
    with pytest.raises(JournalError, match="full") as caught:
        journal.commit_decision(memory(2), random.Random(1).randbytes(2 << 20), "d2", 2.0)
    assert "INSERT" not in str(caught.value)
    restored = journal.load_memory()
    assert restored is not None
    assert restored.decision == 1, "half a transaction was kept"
    journal.commit_decision(memory(3), b"r", "d3", 3.0)
    assert [row.decision_id for row in journal.decisions()] == ["d3", "d1"]
    journal.close()


def test_a_second_agent_is_refused(path: Path) -> None:
    first = Journal.open(path)
    with pytest.raises(JournalError, match="another agent"):
        Journal.open(path)
    first.close()
    Journal.open(path).close()


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file or directory") as caught:
        Journal.open(tmp_path / "nowhere" / "hashwatt.db")
    assert "\n" not in str(caught.value)


def test_a_folder_in_its_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "hashwatt.db").mkdir()
    with pytest.raises(JournalError, match="unable to open"):
        Journal.open(tmp_path / "hashwatt.db")
    # the lock was given back
    (tmp_path / "hashwatt.db").rmdir()
    Journal.open(tmp_path / "hashwatt.db").close()
