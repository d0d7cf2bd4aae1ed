"""The picture in README.md: the console view of a running agent as an SVG. `python -m hil.picture [URL]`

Start `make run` in another terminal, wait until some machines are advised to stop, then run this. The picture is what
the console shows at that moment, drawn by the same `agent.console.frame`; nothing in it is made up.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from agent import console
from agent.running import Unreachable

PICTURE = Path(__file__).parent.parent / "docs" / "img" / "console.svg"
COLUMNS, LINES = 112, 24
# rich would have the reader's browser fetch a font; a picture asks nobody for anything
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where no agent answers."""
    parser = argparse.ArgumentParser(prog="python -m hil.picture", description="Draw the console view as an SVG.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:9851", metavar="URL", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=PICTURE, metavar="FILE", help="default: docs/img/console.svg")
    args = parser.parse_args(argv)
    try:
        document = console.fetch(args.url)
    except Unreachable as error:
        sys.stderr.write(f"no status from {args.url}: {error}; is `make run` running?\n")
        return 1
    args.output.write_text(drawn(document, time.time()), encoding="utf-8")
    return 0


def drawn(document: console.Document, now_s: float) -> str:
    """The console view of `document` at `now_s` as SVG text."""
    paper = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    paper.print(console.frame(document, now_s, LINES, COLUMNS))
    return paper.export_svg(title="hashwatt status --watch", code_format=FORMAT, unique_id="hashwatt")


if __name__ == "__main__":
    sys.exit(main())
