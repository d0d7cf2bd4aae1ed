"""The contract in docs/architecture.md names everything that there is to rely on: what is new in the code, too."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import cli
from agent.config import Document
from exporters import metrics
from exporters.metrics import Metric

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## Contract")[2]
EXAMPLE = (ROOT / "docs" / "hashwatt.example.toml").read_text("utf-8")
CODE = " ".join(re.findall(r"`([^`]+)`", CONTRACT))


def is_named(word: str, text: str = CODE) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def sections(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The sections in a field's type: of itself, of a list, of a table by name, or none."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in typing.get_args(kind):
        yield from sections(part)


def keys(section: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        yield f"{path}{field.encode_name}"
        for below in sections(field.type):
            yield from keys(below, f"{path}{field.encode_name}.")


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in cli._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


@pytest.mark.parametrize("text", [CODE, EXAMPLE], ids=["contract", "example"])
def test_every_section_of_the_configuration_is_named(text: str) -> None:
    tops = {field.encode_name for field in msgspec.structs.fields(Document)}
    assert {top for top in tops if not re.search(rf"\[{top}[\].]", text)} == set()


def test_every_key_of_the_configuration_is_named() -> None:
    assert {key for key in keys(Document) if not is_named(key.rpartition(".")[2])} == set()


def test_every_command_is_named_with_its_options() -> None:
    options = {
        f"{name} {option}"
        for name, parser in commands()
        for action in parser._actions
        for option in ([] if name == "pdu" else action.option_strings)
        if option.startswith("--") and option not in ("--help", "--out") and not is_named(option)
    }
    assert {name for name, _ in commands() if not is_named(name)} | options == set()


def test_every_family_of_metrics_is_named() -> None:
    everything = [each for each in vars(metrics).values() if isinstance(each, Metric)]
    assert len(everything) > 50
    assert {each.name for each in everything if f"`{each.name.split('_')[1]}`" not in CONTRACT} == set()


def test_every_path_of_the_listener_is_named() -> None:
    paths = re.findall(r'add_get\("([^"]+)"', (ROOT / "agent" / "web.py").read_text("utf-8"))
    assert len(paths) > 5
    assert {path for path in paths if f"`{path}`" not in CONTRACT} == set()
