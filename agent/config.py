"""The configuration file: TOML, strict. An unknown key, a wrong type or a missing file is one clear line, exit 2.

The sections are msgspec Structs, and a small walk over their types builds them key by key, so that every error carries
the path of its key (`policy.min_up_s`, `miners[1].targets[0]`). Files named by a key are read here: a `Secret` holds
the content and never shows it. What spans several keys is checked after the walk, in `_check_*`.

Nothing here touches the network or a device. Defaults of the policy and of the economic terms are those of `fleet/`.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from agent.capital import FeederSection, KeepSection, UsdKwh, check_capital
from agent.feeds import MarketSection, check_market
from agent.section import ConfigError as ConfigError
from agent.section import Secret as Secret
from agent.section import Section, Text
from agent.targets import MAX_ADDRESSES, MINER_PORT, SNMP_PORT, Span, TargetError, join_port, parse_target
from agent.tariffs import ExchangeSection, TariffSection, check_tariffs, tariffs_of, urls_of
from collectors.catalogue import LIBRARIES, MINER_KINDS
from fleet.curtailment import Policy
from fleet.site import EconomicTerms, Machine, Nameplate, SiteError, parse_inventory, parse_nameplates

DEFAULT_PATH = Path("/etc/hashwatt/hashwatt.toml")
MAX_SECRET_BYTES = 4096
PROFILES_DIR = "pdus.d"
HISTORY_URL_OPTIONS = ("host", "sslcert", "sslkey", "sslmode", "sslrootcert")
MIN_KEY_CHARS = 8  # RFC 3414, and what agents insist on

T = TypeVar("T")


Seconds = Annotated[float, Meta(gt=0, le=30 * 86_400)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Targets = Annotated[tuple[str, ...], Meta(min_length=1)]

_policy = Policy()
_terms = EconomicTerms()


class SiteSection(Section, frozen=True):
    name: Name  # becomes a topic segment and a label
    inventory: Path | None = None
    catalogue: Path | None = None  # the operator's nameplates; they go before those that ship with the agent
    pdus_dir: Text | None = None  # the operator's PDU profiles; without this key pdus.d beside the file, if it is there
    time_zone: Text = "UTC"  # whose hours and days the history has


class Credential(Section, frozen=True):
    password: Secret = msgspec.field(name="password_file")
    user: Text = "root"


class PollSection(Section, frozen=True):
    interval_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    deadline_s: Annotated[float, Meta(gt=0, le=300)] | None = None  # None: by driver, agent.plan.DEADLINE_S
    tick_s: Annotated[float, Meta(ge=1, le=300)] = 10.0
    max_in_flight: Annotated[int, Meta(ge=1, le=4096)] = 400
    library: Literal[LIBRARIES] = "pyasic"  # type: ignore[valid-type]  # reads the makes that we do not


class MinersSection(Section, frozen=True):
    targets: Targets
    credential: str | None = None
    driver: Literal[MINER_KINDS] = "auto"  # type: ignore[valid-type]
    port: Port = MINER_PORT
    insecure: bool = False


class SnmpSection(Section, frozen=True):
    """How a PDU lets us in: a community (versions 1 and 2c), or a user with his keys (version 3)."""

    version: Literal["1", "2c", "3"] = "2c"
    community: str | None = None  # only "public"; anything else is a secret and belongs in a file
    community_secret: Secret | None = msgspec.field(name="community_file", default=None)
    user: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    auth: Literal["sha1", "sha224", "sha256", "sha384", "sha512"] | None = None
    auth_key: Secret | None = msgspec.field(name="auth_key_file", default=None)
    priv: Literal["aes128", "aes192", "aes256"] | None = None
    priv_key: Secret | None = msgspec.field(name="priv_key_file", default=None)
    engine: Literal["auto", "pysnmp", "gufo"] = "auto"

    def reveal(self) -> str:
        """The community to use; "public" where the operator names none."""
        return self.community_secret.reveal() if self.community_secret else (self.community or "public")

    def options(self) -> dict[str, str | float | bool]:
        """What a worker needs: the fields of `collectors.pdus.snmp.Credential`, in clear, and the engine."""
        told: dict[str, str | float | bool] = {"version": self.version, "engine": self.engine}
        if self.version != "3":
            return told | {"community": self.reveal()}
        named = {"user": self.user, "auth": self.auth, "priv": self.priv}
        keys = {"auth_key": self.auth_key, "priv_key": self.priv_key}
        told |= {key: value for key, value in named.items() if value is not None}
        return told | {key: secret.reveal() for key, secret in keys.items() if secret is not None}

    def secrets(self) -> tuple[str, ...]:
        """Everything that must be seen nowhere."""
        held = (self.community_secret, self.auth_key, self.priv_key)
        return tuple(secret.reveal() for secret in held if secret is not None)


class PdusSection(Section, frozen=True):
    targets: Targets
    profile: Text = "auto"
    port: Port = SNMP_PORT
    snmp: SnmpSection = SnmpSection()
    insecure: bool = False


class EconomicsSection(Section, frozen=True):
    pool_fee: Share = _terms.pool_fee
    reject: Share = _terms.reject
    overhead: Annotated[float, Meta(ge=0, le=2)] = _terms.overhead
    hashprice_sigma: Share = _terms.hashprice_sigma_ratio
    hashrate_sigma: Share = _terms.hashrate_sigma_ratio
    power_price_sigma: Share = _terms.power_price_sigma_ratio
    certainty_sigmas: Annotated[float, Meta(ge=0, le=10)] = _terms.certainty_sigmas
    alternative_usd_per_kwh: UsdKwh | None = None  # what another use of the power would pay, on every feeder
    keep: KeepSection = KeepSection()


class PoolsSection(Section, frozen=True):
    expected: tuple[Text, ...] = ()


class PolicySection(Section, frozen=True):
    enabled: bool = _policy.enabled
    mode: Literal["advisory", "armed"] = "advisory"
    stop_start_cost_usd: Annotated[float, Meta(ge=0, le=100)] = _policy.stop_start_cost_usd
    stop_factor: Annotated[float, Meta(gt=0, le=10)] = _policy.stop_factor
    start_factor: Annotated[float, Meta(gt=0, le=10)] = _policy.start_factor
    min_up_s: Annotated[float, Meta(ge=0, le=7 * 86_400)] = _policy.min_up_s
    min_down_s: Annotated[float, Meta(ge=0, le=7 * 86_400)] = _policy.min_down_s
    quorum_ratio: Ratio = _policy.quorum_ratio
    stop_ramp_ratio: Annotated[float, Meta(gt=0, le=1)] = _policy.stop_ramp_ratio
    stop_ramp_s: Seconds = _policy.stop_ramp_s
    start_ramp_ratio: Annotated[float, Meta(gt=0, le=1)] = _policy.start_ramp_ratio
    start_ramp_s: Seconds = _policy.start_ramp_s
    hold: Literal["release", "keep"] = "keep" if _policy.hold_keep else "release"
    hold_release_min: Annotated[float, Meta(gt=0, le=1440)] = _policy.hold_release_s / 60.0
    max_step_s: Seconds = _policy.max_step_s
    lease_s: Annotated[float, Meta(ge=30, le=240)] = _policy.lease_s


class PrometheusSection(Section, frozen=True):
    listen: Text = "127.0.0.1:9851"
    web_config: Path | None = None
    insecure: bool = False

    @property
    def is_public(self) -> bool:
        return not _is_loopback(self.endpoint[0])

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port to bind; the port may be 0 (the system chooses)."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class MqttSection(Section, frozen=True):
    url: Text
    username: Text | None = None
    password: Secret | None = msgspec.field(name="password_file", default=None)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("mqtts:")

    @property
    def endpoint(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (8883 if self.is_tls else 1883)


class JournalSection(Section, frozen=True):
    path: Text = "/var/lib/hashwatt/hashwatt.db"


class HistorySection(Section, frozen=True):
    """How long accounts and prices are kept, in days, and the size that is never passed; `url` is a second home."""

    path: Text | None = None  # beside the journal
    hourly_days: Annotated[int, Meta(ge=2, le=36_600)] = 40
    daily_days: Annotated[int, Meta(ge=2, le=36_600)] = 1100
    price_days: Annotated[int, Meta(ge=2, le=36_600)] = 400
    max_mib: Annotated[int, Meta(ge=16, le=1 << 20)] = 1024
    url: Secret | None = msgspec.field(name="url_file", default=None)
    insecure: bool = False


class LogSection(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Document(Section, frozen=True):
    """The whole file as the operator may write it."""

    site: SiteSection
    credentials: dict[str, Credential] = msgspec.field(default_factory=dict)
    poll: PollSection = PollSection()
    miners: tuple[MinersSection, ...] = ()
    pdus: tuple[PdusSection, ...] = ()
    market: MarketSection = MarketSection()
    economics: EconomicsSection = EconomicsSection()
    feeders: dict[str, FeederSection] = msgspec.field(default_factory=dict)
    pools: PoolsSection = PoolsSection()
    tariff: TariffSection | None = None
    tariffs: dict[str, TariffSection] = msgspec.field(default_factory=dict)
    exchange: dict[str, ExchangeSection] = msgspec.field(default_factory=dict)
    policy: PolicySection = PolicySection()
    prometheus: PrometheusSection = PrometheusSection()
    mqtt: MqttSection | None = None
    journal: JournalSection = JournalSection()
    history: HistorySection = HistorySection()
    log: LogSection = LogSection()


class Config(Document, frozen=True, kw_only=True):
    """A checked file: its sections, where it came from, what it names, and what is allowed but not wise."""

    source: Path
    pdu_profiles: Path | None = None  # the folder of the operator's own PDU profiles
    machines: tuple[Machine, ...] = ()
    nameplates: Mapping[str, Nameplate] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def journal_path(self) -> Path:
        return self.source.parent / self.journal.path

    @property
    def history_path(self) -> Path:
        return _history_path(self.source.parent, self.journal, self.history)


def load(path: Path | str) -> Config:
    """Read and check a configuration with the files it names.

    Errors: ConfigError, whose text is the one line for the operator.
    """
    source = Path(path)
    try:
        document, folder = _document(source), _Folder(source.absolute().parent)
        parsed: Document = _build(Document, document, "", folder)
        machines = _table("site.inventory", parsed.site.inventory, parse_inventory)
        nameplates = _table("site.catalogue", parsed.site.catalogue, parse_nameplates)
        pdu_profiles = _pdu_profiles(parsed.site.pdus_dir, folder.home)
        warnings = (*folder.warnings, *_check(parsed, machines))
    except ConfigError as error:
        raise ConfigError(error.key, error.message, source.name) from None
    sections = {name: getattr(parsed, name) for name in Document.__struct_fields__}
    return Config(
        **sections,
        source=source.absolute(),
        pdu_profiles=pdu_profiles,
        machines=machines,
        nameplates=nameplates,
        warnings=warnings,
    )


class Neighbour(NamedTuple):
    """What leads to an agent on this machine: where it listens, and the journal that it keeps."""

    listener: PrometheusSection
    journal: Path


def load_neighbour(path: Path | str) -> Neighbour:
    """Only how a reader on this machine finds the agent of this file: for those that have no right to its secrets.

    Errors: ConfigError, as `load`.
    """
    source = Path(path)
    try:
        document, folder = _document(source), _Folder(source.absolute().parent)
        listener: PrometheusSection = _build(PrometheusSection, document.get("prometheus", {}), "prometheus", folder)
        _check_listener(listener)
        journal: JournalSection = _build(JournalSection, document.get("journal", {}), "journal", folder)
    except ConfigError as error:
        raise ConfigError(error.key, error.message, source.name) from None
    return Neighbour(listener, folder.home / journal.path)


def load_profiles_folder(path: Path | str) -> Path | None:
    """Only where the operator's PDU profiles are, for the same readers. None where he has none.

    Errors: ConfigError, as `load`.
    """
    source = Path(path)
    try:
        site = _expect(_document(source).get("site", {}), dict, "a table", "site")
        named = site.get("pdus_dir")
        return _pdu_profiles(
            None if named is None else _expect(named, str, "a folder", "site.pdus_dir"), source.absolute().parent
        )
    except ConfigError as error:
        raise ConfigError(error.key, error.message, source.name) from None


class HistoryPlace(NamedTuple):
    """Where a history is and how its days are told apart; `url` is the second home."""

    site: str
    time_zone: str
    path: Path
    url: Secret | None


def load_history(path: Path | str) -> HistoryPlace:
    """Only where the agent of this file keeps its history, for the same readers: no other secret, no inventory.

    Errors: ConfigError, as `load`.
    """
    source = Path(path)
    try:
        document, folder = _document(source), _Folder(source.absolute().parent)
        told = {name: document.get(name, {}) for name in ("site", "journal", "history")}
        site: SiteSection = _build(SiteSection, told["site"], "site", folder)
        journal: JournalSection = _build(JournalSection, told["journal"], "journal", folder)
        history: HistorySection = _build(HistorySection, told["history"], "history", folder)
        _check_time_zone(site.time_zone)
        if history.url is not None:
            tuple(_check_history_url(history.url.reveal(), history.insecure))  # its warnings are for who runs the agent
    except ConfigError as error:
        raise ConfigError(error.key, error.message, source.name) from None
    return HistoryPlace(site.name, site.time_zone, _history_path(folder.home, journal, history), history.url)


def _history_path(home: Path, journal: JournalSection, history: HistorySection) -> Path:
    """Beside the journal and apart from it, so that a damaged or full history holds no advice back."""
    beside = home / journal.path
    return home / (history.path or beside.with_name(f"{beside.stem}-history{beside.suffix}"))


def _document(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError("", f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError("", f"is not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("", f"is not TOML: {error}") from None


class _Folder:
    """Finds the files that keys name: in $CREDENTIALS_DIRECTORY first (systemd), else beside the configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.warnings: list[str] = []

    def find(self, name: str) -> Path:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (given := Path(credentials) / name).is_file():
            return given
        return self.home / name

    def readable(self, name: str, key: str) -> Path:
        path = self.find(name)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise ConfigError(key, f"cannot read {path}: {error.strerror}") from None

    def secret(self, name: str, key: str) -> Secret:
        path = self.readable(name, key)
        content = path.read_bytes()
        if not content.strip() or len(content) > MAX_SECRET_BYTES:
            raise ConfigError(key, f"{path} holds no secret: {len(content)} bytes, expected 1 to {MAX_SECRET_BYTES}")
        if path.stat().st_mode & 0o007:
            self.warnings.append(f"{key}: {path} is open to every user of this machine; chmod 600 it")
        try:
            return Secret(content.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError:
            raise ConfigError(key, f"{path} is not UTF-8 text") from None


def _build(kind: Any, value: Any, key: str, folder: _Folder) -> Any:
    """`value` as the type `kind`, built from the outside in so that an error knows the path of its key."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):  # TOML has no null: X | None is an X
        kind = next(arm for arm in typing.get_args(kind) if arm is not types.NoneType)
    bare, limits = _bare(kind)
    origin = typing.get_origin(bare)
    if isinstance(bare, type) and issubclass(bare, Section):
        return _section(bare, _expect(value, dict, "a table", key), key, folder)
    if origin is dict:
        inner = typing.get_args(bare)[1]
        table = _expect(value, dict, "a table", key)
        return {name: _build(inner, item, _join(key, name), folder) for name, item in table.items()}
    if origin is tuple:
        items = _expect(value, list, "a list", key)
        if len(items) < limits:
            raise ConfigError(key, "must not be empty")
        return tuple(_build(typing.get_args(bare)[0], item, f"{key}[{i}]", folder) for i, item in enumerate(items))
    if bare is Secret:
        return folder.secret(_expect(value, str, "a file name", key), key)
    if bare is Path:
        return folder.readable(_expect(value, str, "a file name", key), key)
    return _scalar(kind, value, key)


def _bare(kind: Any) -> tuple[Any, int]:
    """A type without its annotation, and the least number of items where that is annotated."""
    if typing.get_origin(kind) is not Annotated:
        return kind, 0
    bare, *notes = typing.get_args(kind)
    return bare, max((note.min_length or 0 for note in notes if isinstance(note, Meta)), default=0)


def _section(kind: type[Section], table: dict[str, Any], key: str, folder: _Folder) -> Section:
    known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in table:
        if name not in known:
            raise ConfigError(_join(key, name), "unknown key" + _suggestion(name, known))
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in table:
            values[field.name] = _build(field.type, table[name], _join(key, name), folder)
        elif field.required:
            raise ConfigError(_join(key, name), "is missing")
    return kind(**values)


def _scalar(kind: Any, value: Any, key: str) -> Any:
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise ConfigError(key, f"must be {_either(typing.get_args(kind))}, not {_shown(value)}")
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(key, f"expected a finite number, got {value}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error).replace("`", "")
        got = "" if ", got " in text else f", got {_shown(value)}"
        raise ConfigError(key, text[:1].lower() + text[1:] + got) from None


def _expect(value: Any, kind: type, name: str, key: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(key, f"expected {name}, got {_shown(value)}")
    return value


def _join(key: str, name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    shown = name if bare else repr(name[:64])
    return f"{key}.{shown}" if key else shown


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"


def _either(choices: Iterable[Any]) -> str:
    return " or ".join(repr(choice) for choice in choices)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _table(key: str, path: Path | None, parse: Callable[[str, str], T]) -> T:
    """A CSV file that the configuration names, read by `parse`; empty where it names none."""
    if path is None:
        return parse("", key)
    try:
        return parse(path.read_text("utf-8-sig"), path.name)
    except SiteError as error:
        raise ConfigError(key, str(error)) from None
    except OSError as error:
        raise ConfigError(key, f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(key, f"{path.name} is not UTF-8 text (byte {error.start})") from None


def _pdu_profiles(named: str | None, home: Path) -> Path | None:
    """The folder of the operator's PDU profiles; whether they are any good is agent.preflight's question."""
    folder = home / (named or PROFILES_DIR)
    if named is None and not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError("site.pdus_dir", f"{folder} is no folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError("site.pdus_dir", f"cannot read {folder}: Permission denied")
    return folder


def _check(config: Document, machines: tuple[Machine, ...]) -> Iterable[str]:
    """Every rule that spans several keys; yields warnings, raises ConfigError."""
    yield from _check_miners(config, machines)
    yield from _check_pdus(config, machines)
    yield from _check_market(config)
    _check_listener(config.prometheus)
    if config.prometheus.insecure and config.prometheus.is_public:
        yield f"prometheus.listen: {config.prometheus.listen} shows the fleet to everybody who can reach it"
    if config.mqtt is not None:
        yield from _check_mqtt(config.mqtt)
    if config.policy.mode == "armed":
        raise ConfigError(
            "policy.mode", "armed mode needs a signing key and an ended shadow period; not in this release"
        )
    if config.policy.start_factor > config.policy.stop_factor:
        raise ConfigError("policy.start_factor", "must not exceed policy.stop_factor")
    yield from _check_power(config, machines)
    yield from _check_capital(config, machines)
    _check_time_zone(config.site.time_zone)
    if config.history.url is not None:
        yield from _check_history_url(config.history.url.reveal(), config.history.insecure)
    if not (config.miners or config.pdus or any(machine.address for machine in machines)):
        yield "miners: nothing is named to poll"


def _check_miners(config: Document, machines: tuple[Machine, ...]) -> Iterable[str]:
    spans: list[tuple[str, Span, int]] = []
    for i, section in enumerate(config.miners):
        key = f"miners[{i}]"
        _check_credential(config.credentials, section.credential, f"{key}.credential")
        spans += [(k, span, span.port or section.port) for k, span in _spans(section.targets, section.insecure, key)]
    if sum(len(span) for _, span, _ in spans) > MAX_ADDRESSES:
        raise ConfigError("miners", f"the targets cover more than {MAX_ADDRESSES} addresses; split the site")
    for machine in machines:
        _check_credential(config.credentials, machine.credential, f"site.inventory: {machine.id}: credential")
        if machine.address is not None:
            _check_inventory_address(machine, [span for _, span, _ in spans])
    yield from _overlaps(spans)


def _check_pdus(config: Document, machines: tuple[Machine, ...]) -> Iterable[str]:
    spans: list[tuple[str, Span, int]] = []
    for i, section in enumerate(config.pdus):
        key = f"pdus[{i}]"
        spans += [(k, span, span.port or section.port) for k, span in _spans(section.targets, section.insecure, key)]
        yield from _check_snmp(section.snmp, f"{key}.snmp")
    if sum(len(span) for _, span, _ in spans) > MAX_ADDRESSES:
        raise ConfigError("pdus", f"the targets cover more than {MAX_ADDRESSES} addresses; split the site")
    yield from _overlaps(spans)
    known = {join_port(host, port, SNMP_PORT) for _, span, port in spans for host in span.hosts()}
    if lost := [machine for machine in machines if machine.pdu and machine.pdu not in known]:
        yield (
            f"site.inventory: {len(lost)} machines name a PDU that no [[pdus]] entry covers, first {lost[0].id} with "
            f"{lost[0].pdu!r}; a PDU is named by its address, with :port where that is not {SNMP_PORT}"
        )


def _check_snmp(snmp: SnmpSection, key: str) -> Iterable[str]:
    """Which keys belong to which version, and what each level of it leaves open."""
    by_community = {"community": snmp.community, "community_file": snmp.community_secret}
    by_user = {
        "user": snmp.user,
        "auth": snmp.auth,
        "auth_key_file": snmp.auth_key,
        "priv": snmp.priv,
        "priv_key_file": snmp.priv_key,
    }
    strange, versions = (by_community, "1 and 2c") if snmp.version == "3" else (by_user, "3")
    for name, value in strange.items():
        if value is not None:
            plural = "s" * (versions != "3")
            raise ConfigError(f"{key}.{name}", f"belongs to version{plural} {versions}; this is {snmp.version}")
    if snmp.version == "3":
        yield from _check_user(snmp, key)
        return
    if snmp.community is not None and snmp.community_secret is not None:
        raise ConfigError(f"{key}.community", "stands beside community_file; name one of them")
    if snmp.community not in (None, "public"):
        raise ConfigError(f"{key}.community", "is a secret: write it to a file and name it in community_file")
    if snmp.version == "1":
        yield f"{key}.version: version 1 is for old devices only; 2c costs less, and 3 is the one that can be trusted"
    if snmp.reveal() == "public":
        yield f'{key}.community: "public" is known to everybody who can reach the PDU'


def _check_user(snmp: SnmpSection, key: str) -> Iterable[str]:
    if snmp.user is None:
        raise ConfigError(f"{key}.user", "is missing: version 3 has users")
    for kind, protocol, secret in (("auth", snmp.auth, snmp.auth_key), ("priv", snmp.priv, snmp.priv_key)):
        if protocol is not None and secret is None:
            raise ConfigError(f"{key}.{kind}_key_file", f"is missing beside {kind}")
        if secret is not None and len(secret.reveal()) < MIN_KEY_CHARS:
            raise ConfigError(f"{key}.{kind}_key_file", f"holds fewer than {MIN_KEY_CHARS} characters")
    if snmp.auth_key is None:
        if snmp.priv_key is not None:
            raise ConfigError(f"{key}.auth_key_file", "is missing: there is no encryption without authentication")
        yield f"{key}.auth_key_file: without it (noAuthNoPriv) anybody may answer in the place of the PDU"
    elif snmp.priv_key is None:
        yield f"{key}.priv_key_file: without it (authNoPriv) everybody on the way can read what the PDU says"


def _spans(targets: Iterable[str], insecure: bool, key: str) -> Iterable[tuple[str, Span]]:
    for i, text in enumerate(targets):
        where = f"{key}.targets[{i}]"
        try:
            span = parse_target(text)
        except TargetError as error:
            raise ConfigError(where, str(error)) from None
        if not (span.is_private or insecure):
            raise ConfigError(where, f"{text!r} is outside private address space; set insecure = true to poll it")
        yield where, span


def _overlaps(spans: list[tuple[str, Span, int]]) -> Iterable[str]:
    """Warnings for addresses named twice: neighbours in address order that share an endpoint."""
    ordered = sorted(spans, key=lambda item: (item[1].version, item[2], item[1].first, item[1].last))
    for (key, span, port), (next_key, next_span, next_port) in pairwise(ordered):
        if (span.version, port) == (next_span.version, next_port) and next_span.first <= span.last:
            yield f"{next_key}: shares addresses with {key}; each is polled once, by the entry that comes first"


def _check_credential(credentials: Mapping[str, Credential], name: str | None, key: str) -> None:
    if name is not None and name not in credentials:
        raise ConfigError(key, f"there is no [credentials.{name}]{_suggestion(name, credentials)}")


def _check_inventory_address(machine: Machine, spans: list[Span]) -> None:
    key = f"site.inventory: {machine.id}: address"
    try:
        span = parse_target(machine.address or "")
    except TargetError as error:
        raise ConfigError(key, str(error)) from None
    if len(span) != 1:
        raise ConfigError(key, f"{machine.address!r} is not one address")
    named = any(s.version == span.version and s.first <= span.first <= s.last for s in spans)
    if not (span.is_private or named):
        raise ConfigError(
            key, f"{machine.address!r} is outside private address space; name it under [[miners]] with insecure = true"
        )


def _check_market(config: Document) -> Iterable[str]:
    for name, feed in config.market.feeds():
        _check_url(feed.url, ("http", "https"), feed.insecure, f"market.{name}.url")
        if feed.proxy is not None:
            _check_url(feed.proxy, ("http", "https"), True, f"market.{name}.proxy")
    yield from check_market(config.market)


def _check_power(config: Document, machines: tuple[Machine, ...]) -> Iterable[str]:
    yield from check_tariffs(config.tariff, config.tariffs, config.exchange)
    for key, url, insecure in urls_of(config.tariff, config.tariffs, config.exchange):
        _check_url(url, ("http", "https"), insecure, key)
    for machine in machines:
        if machine.tariff is not None and machine.tariff not in config.tariffs:
            hint = _suggestion(machine.tariff, config.tariffs) if config.tariffs else ""
            raise ConfigError(f"site.inventory: {machine.id}: tariff", f"there is no [tariffs.{machine.tariff}]{hint}")


def _check_capital(config: Document, machines: tuple[Machine, ...]) -> Iterable[str]:
    economics, named = config.economics, {machine.tariff for machine in machines}
    in_use = tariffs_of(config.tariff, {name: each for name, each in config.tariffs.items() if name in named})
    yield from check_capital(
        economics.keep, economics.alternative_usd_per_kwh is not None, config.feeders, machines, in_use
    )


def _check_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError("site.time_zone", f"{_shown(name)} is no time zone, as America/Chicago") from None


def _check_history_url(url: str, insecure: bool) -> Iterable[str]:
    """A whole address, over TLS that is verified or within this machine. Messages never repeat the URL."""
    key = "history.url_file"
    try:
        parts = urlsplit(url)
        asked = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        host, _ = asked.get("host") or parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(key, "holds no URL") from None
    if strange := sorted(asked.keys() - set(HISTORY_URL_OPTIONS)):
        raise ConfigError(key, f"holds an option {_shown(strange[0])}; known: {', '.join(HISTORY_URL_OPTIONS)}")
    if parts.scheme not in ("postgresql", "postgres") or not host or not parts.path.strip("/"):
        raise ConfigError(key, "must hold a URL of the form postgresql://user:password@host[:port]/database")
    if host.startswith("/") or _is_loopback(host):
        return
    if asked.get("sslmode", "verify-full") != "verify-full" and not insecure:
        raise ConfigError(key, "sslmode leaves open who answers; use verify-full or set insecure = true")
    if insecure:
        yield f"{key}: everything kept at {host} may cross the network in clear, or go to somebody else"


def _check_url(url: str, schemes: tuple[str, str], insecure: bool, key: str) -> None:
    """`schemes`: the plain one and the one under TLS. Messages never repeat the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(key, f"is not a URL: {error}") from None
    if parts.scheme not in schemes or not host:
        raise ConfigError(key, f"must be a URL of the form {schemes[0]}://host[:port] or {schemes[1]}://host[:port]")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(key, "must not hold a user or password; secrets stand in files")
    if parts.query or parts.fragment or (parts.path not in ("", "/") and schemes[0] == "mqtt"):
        raise ConfigError(key, f"must end after the address, as {parts.scheme}://host[:port]")
    if parts.scheme == schemes[0] and not (_is_loopback(host) or insecure):
        raise ConfigError(
            key, f"{schemes[0]}:// leaves this machine in clear; use {schemes[1]}:// or set insecure = true"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_listener(section: PrometheusSection) -> None:
    host, colon, port = section.listen.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ConfigError("prometheus.listen", f"{section.listen!r} is not address:port")
    try:
        ip_address(host)
    except ValueError:
        if host != "localhost":
            raise ConfigError("prometheus.listen", f"{host!r} is not an IP address") from None
    # whether the web-config file really asks for TLS and a password is agent.preflight's question
    if not (_is_loopback(host) or section.insecure or section.web_config):
        raise ConfigError(
            "prometheus.listen",
            f"{section.listen} is open to the network without TLS and authentication; "
            "listen on 127.0.0.1, name a web_config file or set insecure = true",
        )


def _check_mqtt(section: MqttSection) -> Iterable[str]:
    secured = section.insecure or section.password is None
    _check_url(section.url, ("mqtt", "mqtts"), secured, "mqtt.url")
    if section.password is not None and section.username is None:
        raise ConfigError("mqtt.username", "is missing beside password_file")
    if (section.cert_file is None) != (section.key_file is None):
        missing = "key_file" if section.key_file is None else "cert_file"
        raise ConfigError(f"mqtt.{missing}", "is missing: cert_file and key_file stand together")
    for name in ("ca_file", "cert_file"):
        if getattr(section, name) is not None and not section.is_tls:
            raise ConfigError(f"mqtt.{name}", "needs an mqtts:// url")
    if not section.is_tls and not _is_loopback(section.endpoint[0]):
        yield f"mqtt.url: everything published to {section.endpoint[0]} crosses the network in clear"
