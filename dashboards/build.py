"""Writes the Grafana dashboard, the alert rules and the unit tests of the rules.

Run `python -m dashboards.build` in the checkout after a change; a test compares the files with what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from dashboards.alerts import rule_tests, rules
from dashboards.panels import dashboard

FOLDER = Path(__file__).resolve().parent


def files() -> Mapping[str, str]:
    """File name -> text of everything that this script writes."""
    return {
        "hashwatt.json": json.dumps(dashboard(), indent=2) + "\n",
        "alerts.yml": _yaml(rules()),
        "alerts.test.yml": _yaml(rule_tests()),
    }


def _yaml(document: Mapping[str, object]) -> str:
    head = "# Written by `python -m dashboards.build`; change it there.\n"
    return head + str(yaml.safe_dump(document, sort_keys=False, width=120))


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
