"""The command line `hashwatt`: words in, one call each, an exit code out.

Exit 0 = done, 1 = the world failed (nothing answered, an internal error), 2 = the operator's input is wrong. Whatever
goes wrong is one line on standard error; a traceback appears only in the log of `--debug`. Each command imports what it
needs when it runs, so that `--help` costs next to nothing on a small gateway.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.discreet import Discreet

if TYPE_CHECKING:
    from agent.config import Config

DEFAULT_CONFIG = "/etc/hashwatt/hashwatt.toml"

OK, WORLD_FAILED, INPUT_WRONG = 0, 1, 2

log = logging.getLogger("hashwatt")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never raises for what a user or a device can cause."""
    args = _parser().parse_args(argv)
    args.config = getattr(args, "config", None)
    args.debug = getattr(args, "debug", False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that this terminal cannot show is no reason to show nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    _log_to_stderr("debug" if args.debug else "info")
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except KeyboardInterrupt:
        return OK if args.ends_by_ctrl_c else WORLD_FAILED
    except BrokenPipeError:
        # the reader of our output has gone; without this the interpreter complains once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WORLD_FAILED
    except Exception as error:  # noqa: BLE001 - the last door before the user: no traceback passes it
        return _report(error)


def _report(error: Exception) -> int:
    """One line for what ended a command: the operator's mistake (2), or ours (1)."""
    from agent.config import ConfigError

    if isinstance(error, ConfigError):
        sys.stderr.write(f"{_one_line(str(error))}\n")
        return INPUT_WRONG
    log.debug("internal error", exc_info=error)
    sys.stderr.write(f"internal error: {type(error).__name__}: {_one_line(str(error))} (--debug logs where)\n")
    return WORLD_FAILED


def _one_line(text: str, limit: int = 400) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."


def _parser() -> argparse.ArgumentParser:
    from agent import hashprice

    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--config", metavar="PATH", help=f"configuration file (default {DEFAULT_CONFIG})")
    common.add_argument("--debug", action="store_true", help="log everything, with tracebacks, on standard error")

    parser = argparse.ArgumentParser(
        prog="hashwatt",
        description="What each mining machine earns and costs right now, and which of them should run.",
        epilog="Exit 0: done. Exit 1: the world failed. Exit 2: the input is wrong.",
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hashwatt {_Version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str, ends_by_ctrl_c: bool = False
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        sub.set_defaults(command=command, ends_by_ctrl_c=ends_by_ctrl_c)
        return sub

    add("run", _run, "poll, think and publish until stopped", ends_by_ctrl_c=True)
    once = add("once", _once, "poll everything once and print it; exit 1 if no device answered")
    once.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    add("check", _check, "check the configuration and the files it names; contacts no device")
    status = add("status", _status, "show what the running agent sees and advises", ends_by_ctrl_c=True)
    status.add_argument("--watch", action="store_true", help="stay and refresh every two seconds")
    status.add_argument("--url", metavar="URL", help="the agent to ask (default: where the configuration listens)")
    probe = add("probe", _probe, "look at one device and print every value it gives")
    device = probe.add_mutually_exclusive_group(required=True)
    device.add_argument("host", metavar="HOST", nargs="?", help="address, or address:port")
    device.add_argument("--replay", metavar="DIR", help="look at a recording instead (folder or walk); contacts nobody")
    world = probe.add_mutually_exclusive_group()
    for name in ("miner", "pdu"):
        text = f"ask only as a {name}"
        world.add_argument(f"--{name}", dest="world", action="store_const", const=name, default=None, help=text)
    probe.add_argument("--json", action="store_true", help="one JSON object instead of text")
    probe.add_argument("--insecure", action="store_true", help="permit an address outside private address space")
    capture = add("capture", _capture, "record what one machine or PDU answers, without secrets, as a folder")
    capture.add_argument("host", metavar="HOST", help="address, or address:port")
    capture.add_argument(
        "-o", "--out", metavar="DIR", required=True, help="the folder to make; it must not be there yet"
    )
    capture.add_argument("--insecure", action="store_true", help="permit an address outside private address space")
    capture.add_argument("--snmp", action="store_true", help="it is a PDU: walk it, and ask nothing else")
    capture.add_argument("--credential", metavar="NAME", help="log in with [credentials.NAME] of the configuration")
    pdu = add("pdu", _pdu_list, "try PDU profiles on saved walks; list those that are known")
    pdu.epilog = "A new model needs one file and no Python: docs/adding-a-pdu.md shows it from start to end."
    of_pdu = pdu.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, text in (
        ("test", _pdu_test, "show what a profile makes of a saved walk; exit 0 if it is recognised and read"),
        ("list", _pdu_list, "the known profiles, your own among them"),
    ):
        sub = of_pdu.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="JSON instead of text")
        if name == "test":
            sub.add_argument("profile", metavar="PROFILE", help="a profile's file, or the id of a known one")
            sub.add_argument("walk", metavar="WALK", help=".snmprec, a capture's folder, or output of snmpwalk -On")
    discover = add("discover", _discover, "find the machines behind addresses; whoever is silent costs one connect")
    discover.add_argument("targets", metavar="CIDR", nargs="+", help="10.1.0.0/22, 10.1.0.7-90 or 10.1.0.7")
    form = discover.add_mutually_exclusive_group()
    for name, text in (
        ("json", "one JSON object; every host that answered stands under machines"),
        ("toml", "[[miners]] for the configuration"),
        ("csv", "an inventory: id, mac, serial, address, model"),
    ):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, default="table", help=text)
    discover.add_argument("--insecure", action="store_true", help="permit addresses outside private address space")
    discover.add_argument("--connections", type=int, metavar="N", help="most connections at once (default 320)")
    discover.add_argument(
        "--credential", metavar="NAME", help="log in to what asks for it, with [credentials.NAME] of the configuration"
    )
    ladder = add("ladder", _ladder, "who is under water at which hashprice and power price; MW freed, USD per day")
    of_whom = ladder.add_mutually_exclusive_group()
    for name, text in (
        ("look", "one look at every machine, also where an agent runs"),
        ("journal", "the fleet as it was at the newest decision in the journal"),
        ("nameplates", "the inventory by its own numbers or its nameplates; contacts nobody"),
    ):
        of_whom.add_argument(f"--{name}", dest="basis", action="store_const", const=name, default="auto", help=text)
    of_whom.add_argument(
        "--url", metavar="URL", help="the agent to ask (default: where the configuration listens, else one look)"
    )
    for name, text in (
        ("btc", "prices of a bitcoin, USD: 70600,60000"),
        ("hashprice", "hashprices, USD/PH/day: 32,28"),
        ("power", "all-in power prices, USD/kWh: 0.04,0.06"),
    ):
        ladder.add_argument(f"--{name}", metavar="LIST", help=text)
    ladder.add_argument("--difficulty", metavar="D", help="instead of the one of the market")
    ladder.add_argument("--reward", metavar="BTC", help="reward of a block, instead of the one of the market")
    ladder.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    ladder.add_argument("--svg", metavar="FILE", help="write the chart as a picture too")
    report = add("report", _report_days, "what a day's energy, revenue, cost and margin were, by whom and what it was")
    for name, metavar, text in (
        ("day", "DAY", "YYYY-MM-DD, today or yesterday; default: the newest finished day"),
        ("from", "DAY", "the first of several days"),
        ("to", "DAY", "the last of them (default: yesterday)"),
    ):
        report.add_argument(f"--{name}", metavar=metavar, dest=f"{name}_day", help=text)
    report.add_argument(
        "--by",
        metavar="WHAT",
        help="machine, rack, model, owner, feeder, tariff or site: what the table sums up (default model), and the CSV "
        "(default machine)",
    )
    report.add_argument("--csv", metavar="FILE", help="write one grouping as CSV; - for standard output")
    report.add_argument("--html", metavar="FILE", help="write a page with charts and every grouping")
    report.add_argument("--json", action="store_true", help="one JSON object, with every grouping, instead of a table")
    worth = add("worth", _worth, "does each machine pay its power, is it worth its place, its power more elsewhere")
    of_whom = worth.add_mutually_exclusive_group()
    for name, text in (
        ("look", "one look at every machine, also where an agent runs"),
        ("journal", "the fleet as it was at the newest decision in the journal"),
    ):
        of_whom.add_argument(f"--{name}", dest="basis", action="store_const", const=name, default="auto", help=text)
    of_whom.add_argument(
        "--url", metavar="URL", help="the agent to ask (default: where the configuration listens, else one look)"
    )
    worth.add_argument("--by", choices=("machine", "model", "feeder"), help="one table (default: models and feeders)")
    worth.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    worth.add_argument(
        "--svg", metavar="FILE", help="write the chart as a picture too, of models where --by is not told"
    )
    hashprice.add_arguments(add("hashprice", hashprice.run, "hashprice from difficulty, price, height and fees"))
    return parser


class _Version:
    """The installed version, looked up only when `--version` prints it."""

    def __str__(self) -> str:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("hashwatt")
        except PackageNotFoundError:
            return "(not installed)"


def _config_of(args: argparse.Namespace) -> Config:
    from agent.config import load

    return load(args.config or DEFAULT_CONFIG)


def _known_config(args: argparse.Namespace) -> Config | None:
    """The configuration if there is one: a file that the operator names must be good, the usual one may be absent."""
    from agent import preflight

    if args.config is None and not Path(DEFAULT_CONFIG).exists():
        return None
    config = _config_of(args)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    return config


def _own_profiles(args: argparse.Namespace) -> Path | None:
    """The folder of the operator's PDU profiles, without a look at his secrets: offline commands need none."""
    from agent.config import PROFILES_DIR, load_profiles_folder

    if args.config is not None or Path(DEFAULT_CONFIG).exists():
        return load_profiles_folder(args.config or DEFAULT_CONFIG)
    usual = Path(DEFAULT_CONFIG).parent / PROFILES_DIR
    return usual if usual.is_dir() else None


def _run(args: argparse.Namespace) -> int:
    from agent import preflight

    config = _config_of(args)
    _log_to_stderr("debug" if args.debug else config.log.level)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    preflight.check_listener(config)
    preflight.make_journal_directory(config)
    for warning in (*config.warnings, *preflight.warnings_of_prices(config, time.time())):
        log.warning("%s", warning)

    from agent import wiring

    return wiring.run(config)


def _once(args: argparse.Namespace) -> int:
    from agent import preflight

    config = _config_of(args)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    _log_to_stderr("debug" if args.debug else "warning")

    from agent import wiring
    from agent.plan import capital_of
    from exporters.report import once_document
    from fleet.capital import judge

    cycle, failing_feeds = wiring.look(config)
    document = once_document(cycle, judge(cycle, capital_of(config)), failing_feeds)
    if args.json:
        import orjson

        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
        sys.stdout.buffer.flush()
    else:
        from agent import console

        console.show_once(document)
    snapshot = cycle.snapshot
    has_devices = len(snapshot) or len(snapshot.pdus.ids) or config.miners  # a range may hold none
    has_answer = (snapshot.up == 1.0).any() or (snapshot.pdus.up == 1.0).any()
    return WORLD_FAILED if has_devices and not has_answer else OK


def _ladder(args: argparse.Namespace) -> int:
    from agent import ladder, preflight

    config = _config_of(args)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    _log_to_stderr("debug" if args.debug else "warning")
    grid = ladder.grid_of(args.btc, args.hashprice, args.power, args.difficulty, args.reward)
    basis = "agent" if args.url is not None else args.basis
    return ladder.run(config, basis, grid, url=args.url, as_json=args.json, svg=args.svg)


def _report_days(args: argparse.Namespace) -> int:
    from agent import report_run
    from agent.config import load_history

    place = load_history(args.config or DEFAULT_CONFIG)
    _log_to_stderr("debug" if args.debug else "warning")
    wanted = report_run.Wanted(
        args.day_day, args.from_day, args.to_day, by=args.by, csv=args.csv, html=args.html, as_json=args.json
    )
    return report_run.run(place, wanted)


def _worth(args: argparse.Namespace) -> int:
    from agent import preflight, worth

    config = _config_of(args)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    _log_to_stderr("debug" if args.debug else "warning")
    basis = "agent" if args.url is not None else args.basis
    return worth.run(config, basis, args.by, url=args.url, as_json=args.json, svg=args.svg)


def _check(args: argparse.Namespace) -> int:
    from agent import preflight

    config = _config_of(args)
    preflight.check_profiles(config)
    preflight.check_libraries(config)
    preflight.check_listener(config, beside_agent=True)
    preflight.check_journal(config)
    preflight.check_history(config)
    sys.stdout.write(preflight.summary(config))
    for warning in (*config.warnings, *preflight.warnings_of_prices(config, time.time())):
        sys.stderr.write(f"warning: {warning}\n")
    return OK


def _status(args: argparse.Namespace) -> int:
    from agent import console
    from agent.running import checked_url, door_of

    if args.url is None:
        from agent.config import load_neighbour

        args.url = door_of(*load_neighbour(args.config or DEFAULT_CONFIG))
    else:
        checked_url(args.url)
    return console.watch(args.url, once=not args.watch)


def _probe(args: argparse.Namespace) -> int:
    from agent import probe

    if args.replay is not None:
        return probe.replay(args.replay, _own_profiles(args), as_json=args.json)
    return probe.run(args.host, _known_config(args), args.world, as_json=args.json, insecure=args.insecure)


def _capture(args: argparse.Namespace) -> int:
    from agent import capture

    config = _known_config(args)
    options = {"insecure": args.insecure, "credential": args.credential, "is_snmp": args.snmp}
    return capture.run(args.host, args.out, config, **options)


def _pdu_test(args: argparse.Namespace) -> int:
    from agent import pdu

    return pdu.test(args.profile, args.walk, _own_profiles(args), as_json=args.json)


def _pdu_list(args: argparse.Namespace) -> int:
    from agent import pdu

    return pdu.show(_own_profiles(args), as_json=args.json)


def _discover(args: argparse.Namespace) -> int:
    from agent import discover

    config = _config_of(args) if args.credential is not None else None
    return discover.run(args.targets, args.form, args.insecure, args.connections, config, args.credential)


def _log_to_stderr(level: str) -> None:
    # under systemd the journal stamps every line itself
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format=stamp + "%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(Discreet())


if __name__ == "__main__":
    sys.exit(main())
