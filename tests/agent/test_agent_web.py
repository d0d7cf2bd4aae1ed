"""The listener as its readers meet it: real sockets, real TLS, hostile clients included."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import ipaddress
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import web, webconfig
from agent.config import ConfigError
from agent.statuspage import MAX_ROWS, status_html
from agent.web import Listener, Pages, listen

PAGE = b"".join(b'hashwatt_machine_up{machine="m%d"} 1\n' % i for i in range(20_000))
DEADLINE_S = 30


def blocks() -> Iterator[bytes]:
    for start in range(0, len(PAGE), 50_000):
        yield PAGE[start : start + 50_000]


@dataclass
class Farm:
    """A scripted agent behind the listener."""

    is_ready: bool = True
    is_alive: bool = True
    metrics: Callable[[], Iterator[bytes]] = blocks
    document: Mapping[str, object] = field(default_factory=lambda: {"site": "north", "fleet": {"power_w": None}})
    fleet: Callable[[], bytes] = lambda: b'{"site":"north"}'

    def pages(self) -> Pages:
        return Pages(
            "north",
            lambda: self.metrics(),
            lambda: self.document,
            lambda: self.is_ready,
            lambda: self.is_alive,
            lambda: self.fleet(),
        )


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    listeners: list[Listener] = []

    async def open_one(farm: Farm, web_config: Path | None = None) -> Listener:
        listeners.append(await listen("127.0.0.1", 0, farm.pages(), web_config))
        return listeners[-1]

    yield open_one
    for listener in listeners:
        await listener.aclose()


async def get(listener: Listener, path: str, **options: Any) -> tuple[int, Mapping[str, str], bytes]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
        session.get(f"{listener.scheme}://127.0.0.1:{listener.port}{path}", **options) as response,
    ):
        return response.status, dict(response.headers), await response.read()


async def test_the_page_arrives_whole_plain_and_packed(opened: Any) -> None:
    listener = await opened(Farm())
    status, headers, body = await get(listener, "/metrics", headers={"Accept-Encoding": "identity"})
    assert (status, body) == (200, PAGE)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["Server"] == "hashwatt"
    status, headers, body = await get(listener, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == PAGE
    assert len(body) < len(PAGE) / 5


async def test_an_empty_page_is_an_empty_answer(opened: Any) -> None:
    listener = await opened(Farm(metrics=lambda: iter(())))
    assert (await get(listener, "/metrics", headers={"Accept-Encoding": "identity"}))[::2] == (200, b"")


@pytest.mark.parametrize(
    ("path", "farm", "status", "body"),
    [
        ("/healthz", Farm(), 200, b"ok\n"),
        ("/healthz", Farm(is_alive=False), 503, b"no cycle has finished in time\n"),
        ("/readyz", Farm(), 200, b"ready\n"),
        ("/readyz", Farm(is_ready=False), 503, b"waiting for the first full round\n"),
        ("/status.json", Farm(), 200, b'{"site":"north","fleet":{"power_w":null}}'),
        ("/fleet.json", Farm(), 200, b'{"site":"north"}'),
        ("/fleet.json", Farm(fleet=bytes), 503, b"no cycle has finished yet\n"),
        ("/nowhere", Farm(), 404, b"Not Found\n"),
    ],
)
async def test_small_answers(opened: Any, path: str, farm: Farm, status: int, body: bytes) -> None:
    assert (await get(await opened(farm), path))[::2] == (status, body)


async def test_we_are_a_target_by_the_address_that_the_question_came_to(opened: Any) -> None:
    listener = await opened(Farm())
    status, headers, body = await get(listener, "/sd", headers={"Host": "elsewhere.example"})
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert body.decode() == (
        f'[{{"targets":["127.0.0.1:{listener.port}"],"labels":{{"site":"north","__scheme__":"http"}}}}]'
    )


async def test_a_page_that_cannot_be_made_is_a_500_without_a_traceback(opened: Any) -> None:
    def broken() -> Iterator[bytes]:
        raise RuntimeError("secret detail")
        yield b""

    listener = await opened(Farm(metrics=broken))
    status, _, body = await get(listener, "/metrics")
    assert (status, body) == (500, b"this page cannot be made now; the log says why\n")
    assert (await get(listener, "/healthz"))[0] == 200


async def test_a_page_that_breaks_half_way_never_looks_whole(opened: Any) -> None:
    def torn() -> Iterator[bytes]:
        yield b"x 1\n" * 200_000
        raise RuntimeError("half-way")

    listener = await opened(Farm(metrics=torn))
    with pytest.raises(aiohttp.ClientError):
        await get(listener, "/metrics", headers={"Accept-Encoding": "identity"})


async def test_a_fifth_scrape_is_asked_to_come_back_and_a_freed_place_is_given_again(opened: Any) -> None:
    gate, entered = threading.Event(), threading.Semaphore(0)

    def slow() -> Iterator[bytes]:
        entered.release()
        gate.wait(DEADLINE_S)
        yield b"x 1\n"

    listener = await opened(Farm(metrics=slow))
    running = [asyncio.create_task(get(listener, "/metrics")) for _ in range(4)]
    for _ in running:
        assert await asyncio.to_thread(entered.acquire, True, DEADLINE_S)
    status, headers, _ = await get(listener, "/metrics")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert (await get(listener, "/healthz"))[0] == 200
    gate.set()
    assert [answer[0] for answer in await asyncio.gather(*running)] == [200] * 4
    assert (await get(listener, "/metrics"))[0] == 200


async def test_a_reader_that_does_not_read_loses_its_place(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SCRAPE_S", 0.3)
    monkeypatch.setattr(web, "MAX_SCRAPES", 1)
    listener = await opened(Farm(metrics=lambda: (b"x 1\n" * 100_000 for _ in range(1000))))
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(8)
    async with asyncio.timeout(DEADLINE_S):
        while listener._scrapes:
            await asyncio.sleep(0.05)
    writer.close()


async def test_the_whole_fleet_is_made_beside_the_event_loop_and_takes_the_place_of_a_scrape(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_SCRAPES", 1)
    gate, entered = threading.Event(), threading.Event()

    def slow() -> bytes:
        entered.set()
        gate.wait(DEADLINE_S)
        return b"[" + b"0," * 1_000_000 + b"0]"

    listener = await opened(Farm(fleet=slow))
    running = asyncio.create_task(get(listener, "/fleet.json"))
    assert await asyncio.to_thread(entered.wait, DEADLINE_S)
    assert (await get(listener, "/healthz"))[0] == 200
    for path in ("/metrics", "/fleet.json"):
        assert (await get(listener, path))[0] == 503
    gate.set()
    status, headers, body = await running
    assert (status, headers["Content-Type"], len(body)) == (200, "application/json; charset=utf-8", 2_000_003)
    assert (await get(listener, "/metrics"))[0] == 200


async def test_a_fleet_that_cannot_be_told_is_a_500_and_gives_its_place_back(opened: Any) -> None:
    def broken() -> bytes:
        raise RuntimeError("secret detail")

    listener = await opened(Farm(fleet=broken))
    status, _, body = await get(listener, "/fleet.json")
    assert (status, body) == (500, b"this page cannot be made now; the log says why\n")
    assert listener._scrapes == 0


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_client_that_does_not_finish_its_request_is_dropped(
    opened: Any, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(web, "SILENCE_S", 0.1)
    monkeypatch.setattr(web, "SWEEP_S", 0.05)
    listener = await opened(Farm())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(said)
    async with asyncio.timeout(DEADLINE_S):
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
    writer.close()


async def test_one_connection_too_many_is_refused(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 2)
    listener = await opened(Farm())
    held = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"ok\n")
        held.append(writer)
    with pytest.raises(aiohttp.ClientError):
        await get(listener, "/healthz")
    for writer in held:
        writer.close()


async def test_huge_headers_are_refused(opened: Any) -> None:
    listener = await opened(Farm())
    status, _, _ = await get(listener, "/healthz", headers={"X-Big": "x" * 20_000})
    assert status == 400
    assert (await get(listener, "/healthz"))[0] == 200


async def test_a_port_in_use_is_one_clear_line(opened: Any) -> None:
    listener = await opened(Farm())
    with pytest.raises(ConfigError) as caught:
        await listen("127.0.0.1", listener.port, Farm().pages())
    assert str(caught.value) == f"prometheus.listen: 127.0.0.1:{listener.port} is in use"


# --- TLS and passwords ---


def make_certificate(folder: Path, name: str, issuer: tuple[Any, Any] | None = None, host: str = "") -> tuple[Any, Any]:
    """Write NAME.pem and NAME.key; signed by `issuer`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    if host:
        names.append(x509.DNSName(host))
    parent, parent_key = issuer or (None, key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.subject if parent is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        # Python 3.13 checks strictly: who signed, and that it may sign
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False),
            critical=True,
        )
        .sign(parent_key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    authority = make_certificate(tmp_path, "ca")
    make_certificate(tmp_path, "server", authority)
    make_certificate(tmp_path, "prometheus", authority, "prometheus.north.example")
    make_certificate(tmp_path, "stranger", authority, "stranger.example")
    return tmp_path


TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client:
        context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return context


def write_config(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


async def test_a_silent_tls_client_stalls_nobody(opened: Any, certificates: Path) -> None:
    listener = await opened(Farm(), write_config(certificates, TLS))
    silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(20)]
    status, _, body = await get(
        listener, "/metrics", ssl=trusting(certificates), headers={"Accept-Encoding": "identity"}
    )
    assert (status, body) == (200, PAGE)
    assert b"https" in (await get(listener, "/sd", ssl=trusting(certificates)))[2]
    for _, writer in silent:
        writer.close()


async def test_only_the_named_client_certificate_is_served(opened: Any, certificates: Path) -> None:
    demand = (
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
        "  client_allowed_sans: [prometheus.north.example]\n"
    )
    listener = await opened(Farm(), write_config(certificates, TLS + demand))
    assert (await get(listener, "/healthz", ssl=trusting(certificates, "prometheus")))[0] == 200
    assert (await get(listener, "/healthz", ssl=trusting(certificates, "stranger")))[0] == 403
    with pytest.raises((aiohttp.ClientError, OSError)):
        await get(listener, "/healthz", ssl=trusting(certificates))


def users(**passwords: str) -> str:
    rows = (
        f"  {user}: {bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for user, word in passwords.items()
    )
    return "basic_auth_users:\n" + "".join(rows)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_passwords_guard_every_path_and_are_checked_once(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[bytes] = []
    real = bcrypt.checkpw
    monkeypatch.setattr(webconfig.bcrypt, "checkpw", lambda p, h: (checks.append(p), real(p, h))[1])
    listener = await opened(Farm(), write_config(tmp_path, users(prom="right")))
    for path in ("/", "/metrics", "/healthz", "/readyz", "/sd", "/status.json", "/nowhere"):
        status, headers, body = await get(listener, path)
        assert (status, body) == (401, b"unauthorized\n")
        assert headers["WWW-Authenticate"].startswith("Basic")
    right = basic("prom", "right")
    assert [(await get(listener, "/healthz", headers=right))[0] for _ in range(3)] == [200] * 3
    wrong = [("prom", "wrong"), ("nobody", "right"), ("prom", "x" * 100), ("", "")]
    for user, password in wrong * 2:
        assert (await get(listener, "/healthz", headers=basic(user, password)))[0] == 401
    assert (await get(listener, "/healthz", headers={"Authorization": "Basic !!!"}))[0] == 401
    assert (await get(listener, "/healthz", headers={"Authorization": "Bearer x"}))[0] == 401
    assert len(checks) == 5, "each pair of user and password is judged once"


async def test_new_users_and_a_renewed_certificate_are_taken_over(
    opened: Any, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SWEEP_S", 0.05)
    path = write_config(certificates, TLS + users(prom="old"))
    listener = await opened(Farm(), path)
    auth = basic("prom", "new")
    assert (await get(listener, "/healthz", ssl=trusting(certificates), headers=auth))[0] == 401
    old_trust = trusting(certificates)
    authority = make_certificate(certificates, "ca")
    make_certificate(certificates, "server", authority)
    path.write_text("not: [yaml")  # a bad file in between changes nothing
    await asyncio.sleep(0.2)
    path.write_text(TLS + users(prom="new"))
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                if (await get(listener, "/healthz", ssl=trusting(certificates), headers=auth))[0] == 200:
                    break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    with pytest.raises(aiohttp.ClientError):
        await get(listener, "/healthz", ssl=old_trust, headers=auth)


HASH = "$2b$04$" + "a" * 53


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_sever_config: {}", "web.yml: tls_sever_config: unknown key"),
        ("[1, 2]", "web.yml: must be a mapping"),
        ("a: [", "web.yml: is not YAML (line 1)"),
        ("x" * 70_000, "web.yml: longer than 65536 bytes"),
        ("tls_server_config: {cert_file: server.pem}", "web.yml: tls_server_config.key_file: is needed"),
        (TLS.replace("server.pem", "none.pem"), "tls_server_config.cert_file: cannot read"),
        (TLS.replace("server.pem", "ca.pem"), "tls_server_config.cert_file: "),
        (TLS + "  cipher_suites: [X]", "tls_server_config.cipher_suites: is not supported by this listener"),
        (TLS + "  min_version: TLS10", "tls_server_config.min_version: must be one of TLS12, TLS13"),
        (TLS + "  min_version: TLS13\n  max_version: TLS12", "tls_server_config.min_version: is above max_version"),
        (TLS + "  client_auth_type: RequireAnyClientCert", "client_auth_type: must be one of NoClientCert"),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert", "client_ca_file: is needed to verify clients"),
        (TLS + "  client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type Require"),
        (TLS + "  client_allowed_sans: a", "client_allowed_sans: must be a list of names"),
        ("http_server_config: {headers: {Set-Cookie: a}}", "http_server_config.headers.Set-Cookie: unknown key"),
        ("http_server_config: {headers: {X-Frame-Options: 3}}", "X-Frame-Options: must be one line of text"),
        ("basic_auth_users: {prom: hunter2}", "web.yml: basic_auth_users.prom: is not a bcrypt hash"),
        ("basic_auth_users: [prom]", "basic_auth_users: must be a mapping of user to bcrypt hash"),
        (f"basic_auth_users: {{'a:b': '{HASH}'}}", "basic_auth_users: a user must be a text without a colon"),
        ("rate_limit: {interval: 1s}", "web.yml: rate_limit: unknown key"),
    ],
)
def test_a_bad_web_config_is_one_line_that_names_the_key(certificates: Path, text: str, message: str) -> None:
    def start() -> None:
        loaded = webconfig.load(write_config(certificates, text))
        if loaded.tls is not None:
            webconfig.server_context(loaded.tls)

    with pytest.raises(ConfigError) as caught:
        start()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_web_config_names_the_key_that_points_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prometheus.web_config: cannot read .*: No such file"):
        webconfig.load(tmp_path / "web.yml")


@pytest.mark.peer("promtool")
async def test_promtool_accepts_what_we_accept(certificates: Path) -> None:
    text = TLS + "http_server_config:\n  headers:\n    X-Frame-Options: deny\n" + users(prom="x")
    path = write_config(certificates, text)
    assert webconfig.load(path).headers == {"X-Frame-Options": "deny"}
    check = await asyncio.create_subprocess_exec("promtool", "check", "web-config", str(path))
    assert await check.wait() == 0


# --- the status page ---


def test_the_status_page_escapes_every_text_and_shows_missing_as_missing() -> None:
    evil = "<script>alert(1)</script>"
    page = status_html({"site": evil, "market": {evil: evil, "btc_usd": None}, "marginal": [{"id": evil, "up": False}]})
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 6  # title and heading, site row, key, value, id
    assert '<th>btc usd</th><td><span class="missing">–</span></td>' in page
    assert "<td>no</td>" in page


def test_an_alarm_stands_out_on_the_page_and_none_is_a_dash():
    assert '<h2>alarms</h2><p class="alarm">a &lt;b&gt;, c</p>' in status_html({"alarms": ["a <b>", "c"]})
    quiet = status_html({"alarms": []})
    assert "<h2>alarms</h2>" in quiet
    assert 'class="alarm"' not in quiet


def test_a_long_list_is_cut_and_says_so() -> None:
    page = status_html(
        {"marginal": [{"id": f"m{i}"} for i in range(MAX_ROWS + 7)], "reasons": ["RAMP", "BOOT"], "none": []}
    )
    assert "m199" in page
    assert "m200" not in page
    assert "and 7 more" in page
    assert "RAMP, BOOT" in page


async def test_the_status_page_is_served_without_script(opened: Any) -> None:
    status, headers, body = await get(await opened(Farm()), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"Hashwatt north" in body
