"""Coverage-guided fuzzing of one target, or of all of them: `python -m fuzz.run [TARGET ...] --runs N`.

Needs atheris, which lives in an environment of its own (`make fuzz`). Every target has a process of its own, because
the engine ends its process; a finding leaves the input as a file and the exit code 1. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SECONDS_PER_TARGET = 3600


def _fuzz(name: str, runs: int) -> None:
    """Never returns: the engine ends the process."""
    import atheris

    with atheris.instrument_imports(include=["collectors", "fleet", "agent"]):
        from fuzz import targets

    fuzz = next(target for target in targets.targets() if target.name == name)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(fuzz.seeds):
            (Path(corpus) / f"{number:04d}").write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], f"-runs={runs}", "-max_len=16384", "-timeout=5", "-rss_limit_mb=1024", corpus], fuzz.run
        )
        atheris.Fuzz()


def _run(name: str, runs: int, findings: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "fuzz.run", name, "--runs", str(runs), "--here"]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=findings, env=os.environ, capture_output=True, text=True, timeout=SECONDS_PER_TARGET
    )
    executed = re.search(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)", done.stderr)
    result = {
        "target": name,
        "executions": int(next(group for group in executed.groups() if group)) if executed else 0,
        "finding": done.returncode != 0,
        "seconds": round(time.monotonic() - started, 1),
    }
    sys.stderr.write(
        f"{name}: {result['executions']} executions in {result['seconds']} s"
        + ("\n" if not done.returncode else f"\n{done.stderr[-3000:]}\n")
    )
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="*", help="only these (default: all)")
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        _fuzz(options.target[0], options.runs)
    from fuzz import targets

    known = [target.name for target in targets.targets()]
    names = options.target or known
    if unknown := set(names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    findings = Path(tempfile.mkdtemp(prefix="hashwatt-fuzz-"))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda name: _run(name, options.runs, findings), names))
    found = [result["target"] for result in results if result["finding"]]
    if found:
        sys.stderr.write(f"findings of {', '.join(map(str, found))} in {findings}\n")
    print(json.dumps({"executions_each": options.runs, "targets": len(results), "findings": found}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
