"""Writes the Grafana boards, the alert rules and the unit tests of the rules.

Run `python -m dashboards.build` in the checkout after a change; a test compares the files with what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from dashboards import farm, profitability
from dashboards.alerts import rule_tests, rules
from dashboards.panels import Board, dashboard

FOLDER = Path(__file__).resolve().parent
BOARDS = (farm.BOARD, profitability.BOARD)


def files() -> Mapping[str, str]:
    """File name -> text of everything that this script writes."""
    return {
        **{f"{board.uid}.json": _json(board) for board in BOARDS},
        "alerts.yml": _yaml(rules()),
        "alerts.test.yml": _yaml(rule_tests()),
    }


def _json(board: Board) -> str:
    return json.dumps(dashboard(board, [other for other in BOARDS if other is not board]), indent=2) + "\n"


def _yaml(document: Mapping[str, object]) -> str:
    head = "# Written by `python -m dashboards.build`; change it there.\n"
    return head + str(yaml.safe_dump(document, sort_keys=False, width=120))


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
