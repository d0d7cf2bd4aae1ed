"""What must not leave a farm with its recorded replies, and how each is replaced: one table, for captures and for logs.

Secrets become one fixed word. Identities become pseudonyms of the same shape, so that a reply stays a reply: the same
MAC is the same pseudonym wherever it appears in one run, and nobody without the key of the run can turn it back. What
names a thing in prose (a pool's host, a model, a version) stays.

A reply is never parsed and printed again: that would mend what is broken in it, and the broken ones are worth most.
The text is scanned for names with a value, `"key": value`, `KEY[value]`, `key=value`, and for values that give
themselves away wherever they stand. Bytes are taken as latin-1, one character each, so that no invalid one is lost.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote

REDACTED = "REDACTED"


class Kind(StrEnum):
    """What a value is. A log keeps the last five: without them its reader would not know which machine it speaks of."""

    SECRET = "secret"  # noqa: S105  password, token, session, salt, key
    ACCOUNT = "account"  # pool user, worker
    WALLET = "wallet"
    EMAIL = "e-mail"
    MAC = "MAC"
    SERIAL = "serial number"
    NAME = "name of a host, a network or a place"
    ADDRESS = "IP address"
    TEXT = "text of unknown meaning"  # never behind a name: only whoever knows where it stands can tell


UNSPEAKABLE = frozenset({Kind.SECRET, Kind.ACCOUNT, Kind.WALLET, Kind.EMAIL})

TABLE: tuple[tuple[Kind, str], ...] = (
    (
        Kind.SECRET,
        r"(?!.*bypass).*pass\d*|.*(?:password|passwd|passphrase|passcode|pwd)s?\d*|(?:.*(?:pool|stratum|wifi)\d*|.*\d)?pw\d*",
    ),
    (
        Kind.SECRET,
        r".*tokens?\d*|.*secret.*|.*salt|.*apikey|.*(?:private|wifi|wpa|wep|wlan|network|security|ssh)key\d*",
    ),
    (Kind.SECRET, r".*psk|.*(?:session|sess)id|session|sid|.*cookie|.*authorization|auth|jwt|sign|.*signature|key"),
    (Kind.SECRET, r"(?:snmp)?community(?:string)?|.*credentials?"),
    (Kind.ACCOUNT, r"(?!updateonuser).*user(?:id|s)?\d*|owner"),
    (Kind.ACCOUNT, r".*(?:username|worker|workername|workerid|account|accountname|login)s?\d*"),
    (Kind.WALLET, r".*wallet(?:address)?|.*payoutaddress|(?:btc|bitcoin)address"),
    (Kind.EMAIL, r".*e?mail(?:address)?"),
    (Kind.MAC, r".*mac(?:addr|address|id)?\d*|.*(?:hw|hardware|ether)addr(?:ess)?"),
    (Kind.SERIAL, r".*serial(?:no|num|nr|number|id)?s?\d*|serinum|.*dna|.*eeprom(?:data|id)?\d*|.*barcode"),
    (Kind.SERIAL, r"(?:i|hb|cb|dev|psu|pcb|ctrl|board|chain|chip|miner|main|machine|power|product)?sn\d*"),
    (Kind.SERIAL, r"(?:miner|device|machine|chip|board|hw|unique|cpu)(?:unique)?id|.*uuid|.*uniqueid"),
    (Kind.NAME, r".*hostname|.*[be]?ssid\d*|.*dhcpname|.*networkname|.*wifi(?:ap|name)"),
    (
        Kind.ADDRESS,
        r"(?:conf|net|lan|wan|eth|wlan|wifi|local|remote|host|client|server|source|static|my|public|external|internal)?ip\d*",
    ),
    (Kind.ADDRESS, r".*ip(?:v4|v6)(?:addr(?:ess)?)?(?:es)?\d*|.*ipaddr(?:ess)?(?:es)?\d*|.*gateway\d*"),
    (Kind.ADDRESS, r".*dns(?:server)?s?\d*|.*nameservers?\d*|broadcast|.*addr(?:ess)?(?:es)?"),
)
"""Kind of a value by the name that it stands behind, of which letters and digits count, in lower case; first wins."""

_ONLY_QUOTED = frozenset({"key", "auth", "sign", "session", "sid", "login", "owner", "user", "account", "sn"})
"""Names that prose uses with a colon behind them, and means something else: "unknown key: hashrate"."""

_NAMES = tuple((kind, re.compile(pattern)) for kind, pattern in TABLE)
_NOT_PART_OF_A_NAME = re.compile(r"[^a-z0-9]")


@lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind | None:
    """What stands behind a name; None for what may be shown."""
    bare = _NOT_PART_OF_A_NAME.sub("", name.lower())
    return next((kind for kind, pattern in _NAMES if pattern.fullmatch(bare)), None)


# --- where values stand ----------------------------------------------------------------------------------------------
# Possessive and bounded throughout: a hostile reply of a megabyte takes no longer than an honest one.

_STRING = r'(?:[^"\\]|\\.)*+'
# A quote that is missing shifts every string after it. A name with a colon behind it never stands in a string's place.
_IS_NO_NAME = r'(?![^"\\,:{}\[\]]{1,80}+"\s*+:)'
_SCALAR = rf'(?:"{_STRING}"|[^\s"{{}}\[\],]++)'
_QUOTED = re.compile(
    rf'"(?P<name>[^"\\]{{1,80}}+)"(?P<colon>\s*+:\s*+)'
    rf'(?:"(?P<string>{_STRING})(?P<end>"{_IS_NO_NAME}|)|\[(?P<list>(?:\s*+{_SCALAR}\s*+,?+)*+)|(?P<bare>[^\s"{{}}\[\],]*+))'
    rf'|"(?P<lone>{_STRING})"{_IS_NO_NAME}'
    rf'|(?P<gap>"{_STRING}|[^"]++)',
    re.DOTALL,
)
_ITEM = re.compile(rf'"(?P<string>{_STRING})"|(?P<bare>[^\s"{{}}\[\],]++)', re.DOTALL)
_BRACKETED = re.compile(r"(?P<name>[A-Za-z][\w ]{0,40}+)\[(?P<value>[^\[\]\"]{1,512}+)(?=\])")
_ASSIGNED = re.compile(
    r"(?P<name>(?<![\w.-])[A-Za-z][\w.-]{0,60}+)"
    r"(?P<sign>['\"]?\s{0,4}+[=:]\s{0,4}+(?:(?:bearer|basic|digest)\s++)?['\"]?)",
    re.IGNORECASE,
)
_ASSIGNED_VALUE = re.compile(r"(?<=')[^'\n]{1,512}+|[^\s,;&|'\"<>\[\](){}]++")
# Forms and documents between tags: what stands behind a name there has no colon.
_INPUT = re.compile(
    r"<(?P<head>input\b[^<>]{0,200}?\bname\s?=\s?['\"]?(?P<name>[\w.-]{1,60}+)[^<>]{0,200}?\bvalue\s?=\s?)"
    r"(?P<mark>['\"])(?P<value>[^'\"<>]{1,512}+)(?P=mark)",
    re.IGNORECASE,
)
_ELEMENT = re.compile(r"<(?P<head>(?P<name>[A-Za-z][\w.-]{0,60}+)(?:\s[^<>]{0,200}+)?>)(?P<value>[^<>]{1,512}+)(?=</)")
_USERINFO = re.compile(r"(?<=://)(?P<user>[^/\s:@\"']{1,200}+)(?P<password>:[^/\s@\"']{0,200}+)?@")
_BEARER = re.compile(r"(?i)\b(?P<scheme>bearer|basic)(?P<gap>\s++)(?P<value>[A-Za-z0-9+/=._~-]{8,}+)")
_JWT = re.compile(r"\beyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+)?")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}+\.)+[A-Za-z]{2,24}\b")
_WALLET = re.compile(
    r"\b(?:(?:bc1|ltc1|tb1)[02-9ac-hj-np-z]{25,87}|0x[0-9a-fA-F]{40}"
    r"|(?=[1-9A-HJ-NP-Za-km-z]{0,33}[a-z])(?=[1-9A-HJ-NP-Za-km-z]{0,33}[A-Z])[13LMD][1-9A-HJ-NP-Za-km-z]{25,34})\b"
)
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:.-])[0-9A-Fa-f]{2}(?P<mark>[:-])(?:[0-9A-Fa-f]{2}(?P=mark)){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:.])")
_IPV4_OF_URL = re.compile(r"(?<=://)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<=@)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")

_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_HEX = re.compile(r"(?=.*[0-9])[0-9A-Fa-f:.\-]+")
_NEEDS_ESCAPE = re.compile(r'["\\]')
_KEPT = "\ue000"  # stands for the backslash of an escape that a document inside a string keeps
_TWELVE = re.compile(r"[0-9A-Fa-f]{12}")
_SAID_NOTHING = frozenset({"", "none", "null", "unknown", "n/a", "na", "-", "<deleted>", "true", "false", "0"})
_PSEUDONYM_NET = ipaddress.IPv4Network("198.18.0.0/15")  # for benchmarks; no machine has such an address
_PSEUDONYM_NET_V6 = ipaddress.IPv6Network("2001:db8::/32")
_PSEUDONYM_DOMAIN = "@example.invalid"
_MAX_LEARNED = 2000
_MAX_NESTED = 2


class Redactor:
    """Redacts by the table. `key` makes pseudonyms and is thrown away after the run; without one (logs) only what is
    unspeakable goes, all of it by the fixed word. `known` are secrets to take out wherever they stand.

    Redacting twice with one redactor changes nothing more. `counts` tells how many different values of each kind went.
    """

    def __init__(self, key: bytes | None = None, known: Iterable[str] = ()) -> None:
        self._key = key
        self._given: set[str] = set()
        self._learned: dict[str, str] = {}
        self._gone: set[tuple[Kind, str]] = set()
        for secret in known:
            for spelt in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")) if len(secret) >= 4 else ():
                self._learned[spelt] = REDACTED

    @property
    def counts(self) -> Counter[Kind]:
        return Counter(kind for kind, _ in self._gone)

    def folder(self, replies: Mapping[str, bytes]) -> dict[str, bytes]:
        """All replies of one machine: what one of them names as secret is taken out of the others, too."""
        for raw in replies.values():
            self.redact(raw)  # only to learn
        return {name: self.redact(raw) for name, raw in replies.items()}

    def redact(self, raw: bytes) -> bytes:
        """The same reply without what it should not tell; framing, order and faults as they were."""
        return self.text(raw.decode("latin-1")).encode("latin-1")

    def text(self, text: str) -> str:
        """The same for a text: a log line, a page, a document."""
        if "<" in text:
            text = _INPUT.sub(self._between_tags, _ELEMENT.sub(self._between_tags, text))
        return self._without_learned(self._quoted(text, 0))

    def value(self, kind: Kind, value: str) -> str:
        """What stands in the place of a value of which the caller knows what it is."""
        return self._value(kind, value)

    # --- by name

    def _quoted(self, text: str, depth: int) -> str:
        def replaced(found: re.Match[str]) -> str:
            if (lone := found["lone"]) is not None:
                return f'"{self._inner(lone, depth)}"'
            if (gap := found["gap"]) is not None:
                return self._prose(gap)
            return self._member(found, depth)

        return _QUOTED.sub(replaced, text)

    def _member(self, found: re.Match[str], depth: int) -> str:
        name = found["name"]
        kind = kind_of(name)
        head = f'"{name}"{found["colon"]}'
        if (string := found["string"]) is not None:
            said = self._inner(string, depth, name) if kind is None else self._value(kind, string)
            return f'{head}"{said}{found["end"]}'
        if (items := found["list"]) is not None:
            return f"{head}[{_ITEM.sub(lambda item: self._item(kind, item, name, depth), items)}"
        bare: str = found["bare"]
        return head + (bare if kind is None else self._bare(kind, bare))

    def _item(self, kind: Kind | None, item: re.Match[str], name: str, depth: int) -> str:
        if (string := item["string"]) is not None:
            return f'"{self._inner(string, depth, name) if kind is None else self._value(kind, string)}"'
        return item["bare"] if kind is None else self._bare(kind, item["bare"])

    def _bare(self, kind: Kind, bare: str) -> str:
        """A number behind a name stays a number; true, false and null tell nothing."""
        if bare.lower() in _SAID_NOTHING or not bare.strip("."):
            return bare
        if not any(c.isdigit() for c in bare):
            return self._value(kind, bare)
        if kind is Kind.SECRET:
            self._gone.add((kind, bare))
            return "0"
        if kind not in (Kind.SERIAL, Kind.MAC):
            return bare
        instead = self._value(kind, bare)
        if instead.startswith("0") and not bare.startswith("0"):
            instead = "1" + instead[1:]  # JSON has no number with a leading zero
            self._given.add(instead)
        return instead

    def _inner(self, string: str, depth: int, name: str = "") -> str:
        """The content of a string: it may hold another document, or firmware's own notation, or prose."""
        if '\\"' in string and depth < _MAX_NESTED and _KEPT not in string:
            inside = _ESCAPE.sub(lambda e: e[0][1] if e[0][1] in '"\\' else _KEPT + e[0][1:], string)
            return _NEEDS_ESCAPE.sub(r"\\\g<0>", self._quoted(inside, depth + 1)).replace(_KEPT, "\\")
        return self._prose(string, is_version="ver" in name.lower() or "firmware" in name.lower())

    # --- between tags

    def _between_tags(self, found: re.Match[str]) -> str:
        kind, mark = kind_of(found["name"]), found.groupdict().get("mark", "")
        return found[0] if kind is None else f"<{found['head']}{mark}{self._value(kind, found['value'])}{mark}"

    # --- in prose

    def _prose(self, text: str, is_version: bool = False) -> str:
        if "[" in text:
            text = _BRACKETED.sub(self._bracketed, text)
        if "=" in text or ":" in text:
            text = self._assigned(_USERINFO.sub(self._userinfo, text))
        for kind, pattern in _SHAPES:
            if self._goes(kind) and not (is_version and kind is Kind.ADDRESS):
                text = pattern.sub(self._shaped(kind), text)
        return text

    def _bracketed(self, found: re.Match[str]) -> str:
        kind = kind_of(found["name"])
        return found[0] if kind is None else f"{found['name']}[{self._value(kind, found['value'])}"

    def _assigned(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        for found in _ASSIGNED.finditer(text):
            kind = kind_of(found["name"])
            is_prose = found["sign"].strip() == ":" and found["name"].lower() in _ONLY_QUOTED
            if kind is None or is_prose or found.start() < done:
                continue
            if (value := _ASSIGNED_VALUE.match(text, found.end())) is not None:
                parts += [text[done : value.start()], self._value(kind, value[0])]
                done = value.end()
        return "".join((*parts, text[done:]))

    def _userinfo(self, found: re.Match[str]) -> str:
        password = "" if found["password"] is None else ":" + self._value(Kind.SECRET, found["password"][1:])
        return f"{self._value(Kind.ACCOUNT, found['user'])}{password}@"

    def _shaped(self, kind: Kind) -> Callable[[re.Match[str]], str]:
        def replaced(found: re.Match[str]) -> str:
            if kind is Kind.SECRET:
                groups = found.groupdict()
                lead = f"{groups['scheme']}{groups['gap']}" if "scheme" in groups else ""
                return lead + self._value(kind, groups.get("value", found[0]))
            if kind is Kind.ADDRESS:
                return self._address(found[0], is_named=found.re is _IPV4_OF_URL)
            if kind is Kind.EMAIL and self._is_ours(found[0].partition("@")[0]):
                return found[0]  # what is left of a login before the host of an URL
            return self._value(kind, found[0])

        return replaced

    def _is_ours(self, value: str) -> bool:
        return value == REDACTED or value in self._given

    def _without_learned(self, text: str) -> str:
        """Values that stood behind a name somewhere, wherever else they stand."""
        for value, instead in self._learned.items():
            if value in text:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", instead, text)
        return text

    # --- what stands there instead

    def _goes(self, kind: Kind) -> bool:
        return self._key is not None or kind in UNSPEAKABLE

    def _value(self, kind: Kind, value: str) -> str:
        """What replaces one value; itself where it says nothing, was given by us, or may stay."""
        if value.strip().lower() in _SAID_NOTHING or self._is_ours(value) or not self._goes(kind):
            return value
        if kind is Kind.ADDRESS:
            said = _IPV4.sub(lambda found: self._address(found[0], is_named=True), value)
            return _IPV6.sub(lambda found: self._address(found[0], is_named=True), said)
        if kind is Kind.SERIAL and " " in value.strip() and not any(c.isdigit() for c in value):
            return value  # words, not a number: "no miner id now"
        instead = self._learned.get(value) or self._instead(kind, value)
        if instead != value:
            self._gone.add((kind, value))
            self._given.add(instead)
            self._learn(kind, value, instead)
        return instead

    def _instead(self, kind: Kind, value: str) -> str:
        if kind is Kind.SECRET or self._key is None:
            return REDACTED
        if _TWELVE.fullmatch(digits := re.sub(r"[:.\- ]", "", value)) and (
            kind is Kind.MAC or (kind is Kind.SERIAL and not digits.isdigit())
        ):
            return self._mac(value, digits.lower())  # some machines number themselves by their MAC
        if kind is Kind.EMAIL:
            return value if value.endswith(_PSEUDONYM_DOMAIN) else f"x{self._hash(value).hex()[:8]}{_PSEUDONYM_DOMAIN}"
        if kind is Kind.ACCOUNT and _EMAIL.fullmatch(value) is None:
            return "".join(self._alike(part) for part in re.split(r"([._\-+/:@ ])", value))
        if kind is Kind.WALLET:
            lead = next((lead for lead in ("bc1", "ltc1", "tb1", "0x") if value.startswith(lead)), value[:1])
            return lead + self._alike(value[len(lead) :], is_hex=lead == "0x")
        return self._alike(value, is_hex=_HEX.fullmatch(value) is not None)

    def _mac(self, value: str, digits: str) -> str:
        """A locally administered MAC in the same spelling; all zero and all ones are no machine's."""
        if len(set(digits)) == 1 or digits in self._given:
            return value
        instead = "02" + self._hash(digits).hex()[:10]
        self._given |= {instead, instead.upper()}
        self._learn(Kind.MAC, digits, instead)
        self._learn(Kind.MAC, digits.upper(), instead.upper())
        fresh = iter(instead)
        spelt = "".join(next(fresh) if c.isalnum() else c for c in value)
        return spelt.upper() if value.upper() == value else spelt

    def _address(self, text: str, is_named: bool = False) -> str:
        """Addresses of this farm; those that name nobody, and public ones that nothing calls an address, stay."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return text
        names_nobody = address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith("255.")
        if names_nobody or not (is_named or address.is_private) or not self._goes(Kind.ADDRESS):
            return text
        net = _PSEUDONYM_NET if address.version == 4 else _PSEUDONYM_NET_V6
        if address in net:
            return text
        self._gone.add((Kind.ADDRESS, text))
        place = int.from_bytes(self._hash(str(address))[:12]) % (net.num_addresses - 2) + 1
        return str(net[place])

    def _alike(self, value: str, is_hex: bool = False) -> str:
        """The same shape: a digit for a digit, a letter for a letter of the same case, the rest as it is."""
        plain = _ESCAPE.sub("x", value)
        stream = self._hash(plain)
        while len(stream) < len(plain):
            stream += self._hash(plain + str(len(stream)))
        return "".join(_like(c, stream[i], is_hex) for i, c in enumerate(plain))

    def _hash(self, value: str) -> bytes:
        assert self._key is not None
        return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=self._key[:64], digest_size=32).digest()

    def _learn(self, kind: Kind, value: str, instead: str) -> None:
        """Only what cannot be an ordinary word or number: pool passwords are often `x` or `123`."""
        is_distinct = len(value) >= 8 and any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        if kind is Kind.NAME or self._key is None:
            return  # machines are often named by their model
        if is_distinct and "\\" not in value and len(self._learned) < _MAX_LEARNED:
            self._learned.setdefault(value, instead)


_SHAPES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.SECRET, _BEARER),
    (Kind.SECRET, _JWT),
    (Kind.EMAIL, _EMAIL),
    (Kind.WALLET, _WALLET),
    (Kind.MAC, _MAC),
    (Kind.ADDRESS, _IPV4_OF_URL),
    (Kind.ADDRESS, _IPV4),
)
"""Values that give themselves away, wherever they stand."""


def _like(c: str, chance: int, is_hex: bool) -> str:
    if c.isdigit():
        return chr(ord("0") + chance % 10)
    if not c.isalpha():
        return c
    fresh = chr(ord("a") + chance % (6 if is_hex else 26))
    return fresh.upper() if c.isupper() else fresh
