"""The two mechanical rules, and the few habits that a machine can see: who may import whom, who owns which library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("fleet", "collectors", "exporters", "agent")  # what the wheel carries; hil stands outside

EVERYWHERE = {"numpy", "orjson", "msgspec"}
"""Numbers and their wire forms; everything else speaks to the outside and has an owner."""

OWNERS = {
    "aiohttp": {"agent.web"},
    "bcrypt": {"agent.webconfig"},
    "gufo": {"collectors.pdus.gufo_client"},
    "h11": {"collectors.miners.http"},
    "httpx": {"collectors.feeds.http", "collectors.miners.pyasic_adapter"},  # the latter bounds pyasic's own client
    "paho": {"agent.broker"},
    "pyasic": {"collectors.miners.pyasic_adapter"},
    "pyasic_rs": {"collectors.miners.pyasic_rs_adapter"},
    "pyasn1": {"collectors.pdus.pysnmp_client"},  # pysnmp's own types
    "pysnmp": {"collectors.pdus.pysnmp_client"},
    "rich": {"agent.console", "agent.discover_view", "agent.ladder_view", "agent.report_view", "agent.worth_view"},
    "sqlalchemy": {"agent.history", "agent.journal", "agent.postgres", "agent.sqlitefile"},
    "uvloop": {"agent.poller", "agent.wiring"},
    "yaml": {"agent.webconfig"},
}

MEANINGLESS = {"base", "common", "core", "helpers", "manager", "managers", "misc", "shared", "util", "utils"}

WALL_CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}


def modules(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a module imports, inside functions and for types too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_imports_run_one_way() -> None:
    """hil > agent > collectors | exporters > fleet; a module that needs more belongs one room to the left."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_import_cycle_not_even_for_types() -> None:
    graph = grimp.build_graph(*ROOMS, "hil", cache_dir=None)
    sorter = TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules})
    sorter.prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("path", modules(*ROOMS), ids=name_of)
def test_every_library_has_one_owner(path: Path) -> None:
    """So a library can be replaced in one place, and its quirks stay there."""
    foreign = set(imported(path)) - set(sys.stdlib_module_names) - {"__future__", *ROOMS}
    strangers = {library for library in foreign - EVERYWHERE if name_of(path) not in OWNERS.get(library, set())}
    assert not strangers, f"{name_of(path)} imports {strangers}: ask its owner, or name it in OWNERS and decide why"


def test_fleet_knows_nothing_but_numpy() -> None:
    allowed = set(sys.stdlib_module_names) | {"__future__", "fleet", "numpy"}
    assert {name for path in modules("fleet") for name in imported(path)} <= allowed


def test_every_owner_still_owns() -> None:
    """An entry of OWNERS that nobody needs any more would hide the next stray import."""
    known = {name_of(path): set(imported(path)) for path in modules(*ROOMS)}
    idle = {(lib, owner) for lib, owners in OWNERS.items() for owner in owners if lib not in known.get(owner, set())}
    assert not idle


@pytest.mark.parametrize("path", modules(*ROOMS, "hil"), ids=name_of)
def test_names_say_what_is_inside_and_a_docstring_why(path: Path) -> None:
    assert path.stem not in MEANINGLESS
    if tree(path).body:
        assert ast.get_docstring(tree(path)), "a module opens with its strategy"


def test_time_is_an_argument_outside_the_agent() -> None:
    """A decision can be replayed and a collector tested only if nobody else looks at a wall clock."""
    readers = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)}"
        for path in modules("fleet", "collectors", "exporters")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in WALL_CLOCKS
    ]
    assert not readers


def public_functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_every_public_function_of_fleet_says_what_it_gives() -> None:
    silent = [
        f"{name_of(p)}.{f.name}" for p in modules("fleet") for f in public_functions(p) if not ast.get_docstring(f)
    ]
    assert not silent
