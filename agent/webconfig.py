"""TLS and basic auth of the listener, from a web-config file of the format that Prometheus exporters use.

Strict as the configuration itself: an unknown key, or one that we cannot honour, is refused at the start instead of
leaving a listener weaker than its file says. Relative paths count from the file. Passwords are bcrypt hashes only.
This is the only importer of yaml and bcrypt.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import bcrypt
import yaml

from agent.config import ConfigError

V = TypeVar("V")

MAX_BYTES = 64 * 1024
MAX_REMEMBERED = 100  # verdicts, right and wrong; a bcrypt check costs about 70 ms of CPU

CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
BCRYPT_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}")
HEADERS = (
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificate and demands on clients. `client_sans`: one of these names must stand in a client's certificate."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    client_sans: frozenset[str] = frozenset()
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class WebConfig:
    """What one web-config file asks for; the empty one is plain HTTP for everybody."""

    source: Path | None = None
    tls: TlsSettings | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # name -> bcrypt hash
    headers: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> tuple[Path, ...]:
        """Files whose change means that this must be read again."""
        tls = (self.tls.cert_file, self.tls.key_file) if self.tls else ()
        return (*((self.source,) if self.source else ()), *tls)


def load(path: Path) -> WebConfig:
    """Read and check one web-config file. Errors: ConfigError in one line that names the key."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError("prometheus.web_config", f"cannot read {path}: {error.strerror}") from None
    try:
        if len(text) > MAX_BYTES:
            raise ConfigError("", f"longer than {MAX_BYTES} bytes")
        table = _table(_parse(text), "", {"tls_server_config", "http_server_config", "basic_auth_users"})
        tls = table.get("tls_server_config")
        return WebConfig(
            source=path,
            tls=None if tls is None else _tls(tls, path.parent),
            users=_users(table.get("basic_auth_users")),
            headers=_headers(table.get("http_server_config")),
        )
    except ConfigError as error:
        raise ConfigError(error.key, error.message, path.name) from None


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """A context for the listener. Errors: ConfigError where a certificate cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    use_certificate(context, tls)
    context.verify_mode = tls.client_auth
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("tls_server_config.client_ca_file", f"{tls.client_ca_file}: {_text(error)}") from None
    return context


def use_certificate(context: ssl.SSLContext, tls: TlsSettings) -> None:
    """Load certificate and key; connections made from now on use them. Errors: ConfigError."""
    try:
        # without a password callback OpenSSL would ask on the terminal
        context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("tls_server_config.cert_file", f"{tls.cert_file}, {tls.key_file}: {_text(error)}") from None


def client_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Every subject alternative name of a client's certificate, whatever its kind."""
    return frozenset(value for _, value in certificate.get("subjectAltName", ()))


class PasswordBook:
    """Judges user and password, and remembers verdicts: a bcrypt check per scrape would be a lever for attackers."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = users
        self._verdicts: dict[bytes, bool] = {}
        # an unknown name costs the same time as a known one
        self._nobody = next(iter(users.values()), b"")

    def verdict(self, user: str, password: str) -> bool | None:
        """The remembered verdict, None where `check` has to find it."""
        return self._verdicts.get(_digest(user, password))

    def check(self, user: str, password: str) -> bool:
        """Compare with the hash; takes CPU on purpose, so it belongs into a thread."""
        secret = password.encode()
        try:
            is_right = bcrypt.checkpw(secret, self._users.get(user, self._nobody)) and user in self._users
        except ValueError:  # longer than bcrypt's 72 bytes
            is_right = False
        if len(self._verdicts) >= MAX_REMEMBERED:
            self._verdicts.clear()
        self._verdicts[_digest(user, password)] = is_right
        return is_right


def _digest(user: str, password: str) -> bytes:
    return hashlib.sha256(user.encode() + b"\0" + password.encode()).digest()


def _parse(text: bytes) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError("", f"is not YAML{where}") from None


def _table(value: Any, key: str, known: set[str], unsupported: tuple[str, ...] = ()) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(key, "must be a mapping")
    for name in value:
        path = f"{key}.{name}" if key else str(name)
        if name in unsupported:
            raise ConfigError(path, "is not supported by this listener")
        if name not in known:
            raise ConfigError(path, "unknown key")
    return value


def _tls(value: Any, folder: Path) -> TlsSettings:
    key = "tls_server_config"
    table = _table(
        value,
        key,
        {
            "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans",
            "min_version", "max_version",
        },
        ("cert", "key", "client_ca", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
    )  # fmt: skip
    client_auth = _choice(table, key, "client_auth_type", CLIENT_AUTH, "NoClientCert")
    sans = table.get("client_allowed_sans") or []
    if not isinstance(sans, list) or not all(isinstance(name, str) for name in sans):
        raise ConfigError(f"{key}.client_allowed_sans", "must be a list of names")
    settings = TlsSettings(
        cert_file=_file(table, key, "cert_file", folder, is_needed=True),
        key_file=_file(table, key, "key_file", folder, is_needed=True),
        client_auth=client_auth,
        client_ca_file=_file(table, key, "client_ca_file", folder) if "client_ca_file" in table else None,
        client_sans=frozenset(sans),
        min_version=_choice(table, key, "min_version", VERSIONS, "TLS12"),
        max_version=_choice(table, key, "max_version", VERSIONS, "TLS13"),
    )
    if settings.min_version > settings.max_version:
        raise ConfigError(f"{key}.min_version", "is above max_version")
    if client_auth is not ssl.CERT_NONE and settings.client_ca_file is None:
        raise ConfigError(f"{key}.client_ca_file", "is needed to verify clients")
    if sans and client_auth is not ssl.CERT_REQUIRED:
        raise ConfigError(f"{key}.client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
    return settings


def _file(table: Mapping[str, Any], key: str, name: str, folder: Path, is_needed: bool = False) -> Path:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key}.{name}", "is needed" if value is None and is_needed else "must be the path of a file")
    path = folder / value
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{key}.{name}", f"cannot read {path}: {error.strerror}") from None
    return path


def _choice(table: Mapping[str, Any], key: str, name: str, choices: Mapping[str, V], default: str) -> V:
    value = table.get(name, default)
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{key}.{name}", f"must be one of {', '.join(choices)}")
    return choices[value]


def _headers(value: Any) -> dict[str, str]:
    key = "http_server_config"
    table = _table(value, key, {"http2", "headers"})  # http2: we speak HTTP/1.1, which every client of it speaks too
    headers = _table(table.get("headers"), f"{key}.headers", set(HEADERS))
    for name, text in headers.items():
        if not isinstance(text, str) or not text.isprintable():
            raise ConfigError(f"{key}.headers.{name}", "must be one line of text")
    return headers


def _users(value: Any) -> dict[str, bytes]:
    key = "basic_auth_users"
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(key, "must be a mapping of user to bcrypt hash")
    users: dict[str, bytes] = {}
    for user, digest in value.items():
        if not isinstance(user, str) or not user or ":" in user:
            raise ConfigError(key, "a user must be a text without a colon")
        if not isinstance(digest, str) or not BCRYPT_HASH.fullmatch(digest):
            # the value is a secret: no message may quote it
            raise ConfigError(f"{key}.{user}", "is not a bcrypt hash")
        users[user] = digest.encode()
    return users


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)
