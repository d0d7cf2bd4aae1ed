"""The [history] of a configuration: where it is, and a URL that holds a password and is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from agent.config import Config, ConfigError, load
from agent.preflight import check_history, check_libraries, make_journal_directory, summary


def loaded(tmp_path: Path, text: str = "", url: str | None = None) -> Config:
    path = tmp_path / "hashwatt.toml"
    if url is not None:
        (tmp_path / "history.url").write_text(url + "\n")
        (tmp_path / "history.url").chmod(0o600)
        text += "[history]\nurl_file = 'history.url'\n"
    path.write_text(f"[site]\nname = 'north'\n{text}")
    return load(path)


def test_a_history_stands_beside_the_journal(tmp_path: Path) -> None:
    assert loaded(tmp_path).history_path == Path("/var/lib/hashwatt/hashwatt-history.db")
    assert loaded(tmp_path, "[journal]\npath='n/j.db'\n").history_path == tmp_path / "n" / "j-history.db"
    assert loaded(tmp_path, "[history]\npath='h.db'\n").history_path == tmp_path / "h.db"


def test_the_hours_are_those_of_the_site(tmp_path: Path) -> None:
    assert loaded(tmp_path).site.time_zone == "UTC"
    assert loaded(tmp_path, "time_zone = 'Asia/Kathmandu'\n").site.time_zone == "Asia/Kathmandu"
    for wrong in ("Mars/Olympus", "../../etc/passwd", "America"):
        with pytest.raises(ConfigError, match=r"site.time_zone: .* is no time zone"):
            loaded(tmp_path, f"time_zone = '{wrong}'\n")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@localhost/history",
        "postgresql://u:hunter2@127.0.0.1:5433/history?sslmode=disable",
        "postgres://u@/history?host=/run/postgresql",
        "postgresql://u:hunter2@db.example/history?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://u:hunter2@db.example/history",
    ],
)
def test_a_server_of_this_machine_or_one_that_must_prove_itself_is_good(tmp_path: Path, url: str) -> None:
    config = loaded(tmp_path, url=url)
    assert not any("history" in warning for warning in config.warnings)
    assert config.history.url is not None
    assert config.history.url.reveal() == url
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hunter2", "must hold a URL"),
        ("mysql://u:hunter2@localhost/history", "must hold a URL"),
        ("postgresql://u:hunter2@localhost", "must hold a URL"),
        ("postgresql://u:hunter2@/history", "must hold a URL"),
        ("postgresql://u:hunter2@localhost:port/history", "holds no URL"),
        ("postgresql://u:hunter2@db.example/history?sslmode=require", "verify-full"),
        ("postgresql://u:hunter2@localhost/history?hostaddr=192.0.2.1", "hostaddr"),
        ("postgresql://u:hunter2@localhost/history?host=db.example&sslmode=prefer", "verify-full"),
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        loaded(tmp_path, url=url)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("hashwatt.toml: history.url_file: ")


def test_an_open_way_is_a_warning_where_the_operator_wants_it(tmp_path: Path) -> None:
    (tmp_path / "history.url").write_text("postgresql://u:hunter2@db.example/history?sslmode=prefer")
    (tmp_path / "history.url").chmod(0o600)
    warnings = loaded(tmp_path, "[history]\nurl_file = 'history.url'\ninsecure = true\n").warnings
    assert any("db.example" in warning for warning in warnings)
    assert not any("hunter2" in warning for warning in warnings)


def test_a_check_says_where_the_history_is_and_what_is_missing(tmp_path: Path, mocker: MockerFixture) -> None:
    text = "[journal]\npath = 'j.db'\n"
    assert f"{tmp_path}/j-history.db: hours for 40 days, days for 1100, at most 1024 MiB\n" in summary(
        loaded(tmp_path, text)
    )
    with_server = loaded(tmp_path, text, url="postgresql://u:hunter2@localhost/history")
    assert "1024 MiB, and a server\n" in summary(with_server)
    assert "hunter2" not in summary(with_server)
    check_libraries(with_server)
    mocker.patch("agent.preflight.find_spec", side_effect=lambda name: name != "psycopg" or None)  # a gateway without
    with pytest.raises(ConfigError, match=r"history.url_file: psycopg is not installed"):
        check_libraries(with_server)


@pytest.mark.parametrize(
    ("path", "words"), [("j.db", "is the journal"), (".", "is a directory"), ("file/h.db", "not a writable directory")]
)
def test_a_history_needs_a_place_of_its_own(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    config = loaded(tmp_path, f"[journal]\npath = 'j.db'\n[history]\npath = '{path}'\n")
    with pytest.raises(ConfigError, match=f"history.path: .*{words}"):
        check_history(config)
    make_journal_directory(config)  # and yet an agent runs
