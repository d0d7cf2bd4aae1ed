"""What only this machine can say about a checked configuration: is the port free, can the journal be written.

The same questions for `hashwatt check` and, before anything else starts, for `hashwatt run`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from agent.config import Config, ConfigError
from agent.plan import assignments_of, site_of
from agent.running import scheme_of
from agent.tariffs import known_rates, series_of_file, source_in_words, tariff_of
from collectors.catalogue import LIBRARIES
from fleet.series import Gap
from fleet.tariff import prices


def check_listener(config: Config, *, beside_agent: bool = False) -> None:
    """Read the listener's web-config file and bind it for a moment.

    With `beside_agent` a port may be in use while an agent runs on the same journal: it is that agent's.
    Errors: ConfigError where the file is wrong or too weak for a public listener, or the port is in use or not ours.
    """
    _check_protection(config)
    host, port = config.prometheus.endpoint
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # as a server does it: a port whose last connections are still closing is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError as error:
            if beside_agent and error.errno == errno.EADDRINUSE and _has_agent(config):
                return
            raise ConfigError("prometheus.listen", _listen_problem(config, error), config.source.name) from None


def _has_agent(config: Config) -> bool:
    from agent.sqlitefile import is_locked  # with SQLAlchemy, which takes its time

    return is_locked(config.journal_path)


def _check_protection(config: Config) -> None:
    """A listener beyond loopback needs encryption, and a password or a client certificate."""
    section = config.prometheus
    if section.web_config is None:
        return
    from agent import webconfig  # with yaml and bcrypt, which nobody else needs

    web = webconfig.load(section.web_config)
    if not section.is_public or section.insecure:
        return
    if web.tls is None:
        raise ConfigError(
            "prometheus.web_config", f"{section.listen} is public and has no tls_server_config", config.source.name
        )
    if not web.users and web.tls.client_auth is not ssl.CERT_REQUIRED:
        raise ConfigError(
            "prometheus.web_config",
            f"{section.listen} is public and asks nobody for a name: add basic_auth_users or client certificates",
            config.source.name,
        )


def _listen_problem(config: Config, error: OSError) -> str:
    listen = config.prometheus.listen
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is in use"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listen} is no address of this machine"
    return f"cannot listen on {listen}: {error.strerror or error}"


def check_profiles(config: Config) -> None:
    """The operator's own PDU profiles must be good, and every profile that he names must exist. Errors: ConfigError."""
    if config.pdu_profiles is None and all(section.profile == "auto" for section in config.pdus):
        return
    from collectors.pdus.profile import ProfileError, profiles_with

    try:
        profiles = profiles_with(config.pdu_profiles)
    except ProfileError as error:
        raise ConfigError("site.pdus_dir", str(error), config.source.name) from None
    known = ["auto", *dict.fromkeys(profile.id for profile in profiles)]
    for i, section in enumerate(config.pdus):
        if section.profile not in known:
            message = f"there is no profile {section.profile!r}; known: {', '.join(known)}"
            raise ConfigError(f"pdus[{i}].profile", message, config.source.name)


def check_libraries(config: Config) -> None:
    """Every library that the operator names must be installed; one of them does not come along. Errors: ConfigError."""
    named = {"poll.library": config.poll.library}
    named |= {f"miners[{i}].driver": section.driver for i, section in enumerate(config.miners)}
    for key, name in named.items():
        if name in LIBRARIES and find_spec(name) is None:
            raise ConfigError(key, f"{name} is not installed beside Hashwatt", config.source.name)
    for i, pdus in enumerate(config.pdus):
        if pdus.snmp.engine == "gufo" and find_spec("gufo") is None:
            message = "gufo_snmp is not installed beside Hashwatt; 'auto' takes the engine that is there"
            raise ConfigError(f"pdus[{i}].snmp.engine", message, config.source.name)
    if config.history.url is not None and find_spec("psycopg") is None:
        message = "psycopg is not installed beside Hashwatt: pip install 'psycopg[binary]' into its environment"
        raise ConfigError("history.url_file", message, config.source.name)


def check_journal(config: Config) -> None:
    """The journal's file, or the nearest directory above it that exists, must be writable. Errors: ConfigError."""
    _check_file(config, "journal.path", config.journal_path)


def check_history(config: Config) -> None:
    """The same of the history's file, which must be another one. Errors: ConfigError."""
    path = config.history_path
    if path == config.journal_path:
        raise ConfigError("history.path", f"{path} is the journal", config.source.name)
    _check_file(config, "history.path", path)


def _check_file(config: Config, key: str, path: Path) -> None:
    if path.is_dir():
        raise ConfigError(key, f"{path} is a directory", config.source.name)
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(key, f"{path} is not writable", config.source.name)
    folder = next(parent for parent in path.parents if parent.exists())
    # SQLite keeps its write-ahead log beside the file, so the directory counts even where the file is there
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(key, f"{folder} is not a writable directory", config.source.name)


def make_journal_directory(config: Config) -> None:
    """Check the journal and create its directory, and that of the history: without one the agent runs all the same.

    Errors: ConfigError.
    """
    check_journal(config)
    folder = config.journal_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("journal.path", f"cannot create {folder}: {error.strerror}", config.source.name) from None
    with suppress(OSError):  # the history says it of itself, again and again
        config.history_path.parent.mkdir(parents=True, exist_ok=True)


def warnings_of_prices(config: Config, now_s: float) -> list[str]:
    """A line for each price list in a file that gives no price for this hour: allowed, as a newer one may come in time.

    Errors: ConfigError for a file that has become a bad one.
    """
    from agent.feed_watch import gap_told

    told = []
    sections = {"tariff": config.tariff} | {f"tariffs.{name}": section for name, section in config.tariffs.items()}
    for name, section in sections.items():
        if section is None or (path := section.per_kwh_file or section.per_mwh_file) is None:
            continue
        key = f"{name}.per_kwh_file" if section.per_kwh_file else f"{name}.per_mwh_file"
        tariff, series = tariff_of(section, name), series_of_file(section, key)
        known = {tariff.source: series, **known_rates(config.exchange)}
        (gap,) = prices(tariff, np.array([now_s]), known, now_s).reason
        if (why := gap_told(series, Gap(gap))) is not None:
            told.append(f"{key}: the prices of {path.name} {why}, so its power has no price now")
    return told


def _own_profiles(config: Config) -> dict[str, str]:
    if config.pdu_profiles is None:
        return {}
    from collectors.pdus.profile import load_profiles

    ids = ", ".join(dict.fromkeys(profile.id for profile in load_profiles(config.pdu_profiles)))
    return {"profiles": f"{config.pdu_profiles}: {ids or 'none'}"}


def _history_in_words(config: Config) -> str:
    section = config.history
    kept = f"{config.history_path}: hours for {section.hourly_days} days, days for {section.daily_days}"
    second = "" if section.url is None else ", and a server"
    return f"{kept}, at most {section.max_mib} MiB{second}"


def summary(config: Config) -> str:
    """The few lines that `hashwatt check` prints for a good configuration."""
    counts = {worker.name: len(worker.jobs) for worker in assignments_of(config, site_of(config, ""))}
    miners = counts.get("miners", 0) + counts.get("pyasic", 0)
    rows = {
        "site": f"{config.site.name}: {len(config.machines)} machines in the inventory",
        "polled": f"{miners} miner addresses, {counts.get('snmp', 0)} PDU addresses every {config.poll.interval_s:g} s",
        **_own_profiles(config),
        "market": ", ".join(config.market.named()) or "none",
        "power": "unknown" if config.tariff is None else source_in_words(config.tariff),
        "policy": config.policy.mode if config.policy.enabled else "disabled",
        "prometheus": f"{scheme_of(config.prometheus)}://{config.prometheus.listen}/metrics",
        "mqtt": "off" if config.mqtt is None else config.mqtt.url,
        "journal": str(config.journal_path),
        "history": _history_in_words(config),
    }
    lines = [f"  {name:<12}{text}" for name, text in rows.items()]
    return "\n".join([f"{Path(config.source).name} is good", *lines, ""])
