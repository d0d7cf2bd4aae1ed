"""One page over real loopback sockets: what an honest server frames, what a hostile one sends, and the digest login."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import re
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from scripted_miner import Answer, Dribble, Flood, Hang, KeepOpen, Reset
from scripted_pages import Asked, ScriptedPages, page, scripted_pages

from collectors.miners.http import (
    Digest,
    Response,
    _Conversation,
    as_text,
    digest_response,
    request,
    require_ok,
)
from collectors.miners.make import Credential
from fleet.ports import PollError
from fleet.readings import FaultKind

GENEROUS_S = 30.0
OPERATOR = Credential("root", "correct horse")

on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]


def now() -> float:
    return asyncio.get_running_loop().time()


async def get(site: ScriptedPages, target: str = "/", wait_s: float = GENEROUS_S, **more: Any) -> Response:
    return await request(site.host, site.port, "GET", target, now() + wait_s, **more)


async def fault_of(answer: Answer, wait_s: float = GENEROUS_S, **more: Any) -> PollError:
    async with scripted_pages({"/": answer}) as site:
        with pytest.raises(PollError) as failed:
            await get(site, wait_s=wait_s, **more)
        return failed.value


# --- honest framing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        page(b'{"a":1}'),
        KeepOpen(page(b'{"a":1}')),
        b'HTTP/1.0 200 OK\r\nServer: old\r\n\r\n{"a":1}',
        b'HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n{"a":1}',
        b'HTTP/1.1 200 OK\nContent-Length: 7\n\n{"a":1}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\nTrailer: t\r\n\r\n',
        KeepOpen(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n0\r\n\r\n'),
        Dribble(page(b'{"a":1}', 200, "Content-Type: application/json")),
        b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}',
        page(b'{"a":1}', 200, "Content-Encoding: identity"),
        page(b'{"a":1}') + b"HTTP/1.1 500 More\r\n\r\n",
    ],
    ids=[
        "length", "no fin", "until the end", "no reason", "bare newlines", "chunked", "chunked, no fin", "byte by byte",
        "interim answer", "identity", "a second response behind it",
    ],
)  # fmt: skip
@on_both_loops
def test_every_honest_framing_gives_the_page(run: Run, answer: Answer) -> None:
    async def look() -> None:
        async with scripted_pages({"/": answer}) as site:
            response = await get(site)
            assert (response.status, response.body) == (200, b'{"a":1}')
            assert len(site.asked) == 1

    run(look())


async def test_a_request_says_what_it_wants_and_nothing_else() -> None:
    async with scripted_pages({"/api?x=1": page(b"[]")}) as site:
        await get(site, "/api?x=1", headers=(("Token", "abc"),))
        asked = site.asked[0]
    assert (asked.method, asked.target, asked.body) == ("GET", "/api?x=1", b"")
    assert asked.headers == {
        "host": f"127.0.0.1:{site.port}", "accept-encoding": "identity", "connection": "close", "token": "abc"
    }  # fmt: skip


async def test_a_body_makes_its_length_known() -> None:
    async with scripted_pages({"/graphql": page(b"{}")}) as site:
        await request(site.host, site.port, "POST", "/graphql", now() + GENEROUS_S, body=b'{"query":"{a}"}')
    assert site.asked[0].body == b'{"query":"{a}"}'
    assert site.asked[0].headers["content-type"] == "application/json"


async def test_the_host_of_an_ipv6_address_stands_in_brackets() -> None:
    async with scripted_pages({"/": page(b"")}, host="::1") as site:
        await get(site)
        assert site.asked[0].headers["host"] == f"[::1]:{site.port}"


async def test_headers_are_found_in_lower_case_and_a_page_is_told_whole() -> None:
    async with scripted_pages({"/": page(b"<html>", 401, 'WWW-Authenticate: Digest realm="antMiner"')}) as site:
        response = await get(site)
    assert response.header("www-authenticate") == 'Digest realm="antMiner"'
    assert response.header("location") is None
    assert as_text(response) == (
        b'HTTP/1.1 401\r\ncontent-length: 6\r\nwww-authenticate: Digest realm="antMiner"\r\n\r\n<html>'
    )


# --- hostile answers ---------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", FaultKind.MALFORMED, "closed without a response"),
        (Reset(), FaultKind.MALFORMED, "connection reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", FaultKind.MALFORMED, "cut off"),
        (CHUNKED + b"5\r\nabc", FaultKind.MALFORMED, "cut off"),
        (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (CHUNKED + b"f" * 30 + b"\r\n", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 2xx OK\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (page(b"\x1f\x8b", 200, "Content-Encoding: gzip"), FaultKind.MALFORMED, "compressed"),
        (page(b"x", 200, "Content-Encoding: deflate, br"), FaultKind.MALFORMED, "compressed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", FaultKind.MALFORMED, "cut off"),
        (b'{"STATUS":[{"STATUS":"E","Code":23}],"id":1}', FaultKind.UNSUPPORTED, "does not speak HTTP"),
        (KeepOpen(b"STATUS=E,When=1|"), FaultKind.UNSUPPORTED, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n", FaultKind.OVERSIZE, "262144"),
        (KeepOpen(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n"), FaultKind.OVERSIZE, "262144"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 262_145, FaultKind.OVERSIZE, "262144"),
        (Flood(b"HTTP/1.1 100 Continue\r\n\r\n"), FaultKind.OVERSIZE, "pieces"),
        (CHUNKED + b"1\r\nx\r\n" * 17_000, FaultKind.OVERSIZE, "pieces"),
        (CHUNKED + (b"1;" + b"x" * 8000 + b"\r\ny\r\n") * 200, FaultKind.OVERSIZE, "262144"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 20_000 + b"\r\n\r\n", FaultKind.OVERSIZE, "header longer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 20_000, FaultKind.OVERSIZE, "header longer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 20_000 + b"\r\n", FaultKind.OVERSIZE, "header longer"),
    ],
)
async def test_every_lie_has_its_kind(answer: Answer, kind: FaultKind, words: str) -> None:
    error = await fault_of(answer)
    assert (error.kind, words in error.detail) == (kind, True), error


@pytest.mark.parametrize(
    "endless",
    [
        Flood(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 60_000),
        Flood(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000 + b"\r\n"),
        Flood(b"HTTP/1.1 200 OK\r\nA: b\r\n" * 100),
        Flood(CHUNKED + b"ffff\r\n" + b"x" * 65_535 + b"\r\n"),
    ],
    ids=["body", "header", "headers", "chunks"],
)
async def test_what_never_ends_is_cut_and_does_not_fill_the_memory(endless: Answer) -> None:
    tracemalloc.start()
    try:
        error = await fault_of(endless)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.kind in (FaultKind.OVERSIZE, FaultKind.MALFORMED)
    assert peak < 8 * 1024 * 1024  # both ends of the socket are in this process


async def test_the_cap_counts_what_arrives_framing_included() -> None:
    async with scripted_pages({"/": page(b"x" * 2000)}) as site:
        assert len((await get(site, max_bytes=2000)).body) == 2000
        with pytest.raises(PollError) as failed:
            await get(site, max_bytes=1999)
    assert failed.value.kind is FaultKind.OVERSIZE


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Hang(), FaultKind.TIMEOUT),
        (KeepOpen(b"HTTP/1.1 200 OK\r\n"), FaultKind.TIMEOUT),
        (KeepOpen(b"HTTP/1.1 200 OK\r\n\r\nno length, no end"), FaultKind.TIMEOUT),
        (KeepOpen(CHUNKED + b"3\r\nabc\r\n"), FaultKind.TIMEOUT),
    ],
)
async def test_silence_ends_with_the_deadline(answer: Answer, kind: FaultKind) -> None:
    assert (await fault_of(answer, wait_s=0.3)).kind is kind


async def test_a_closed_port_is_refused(free_port: int) -> None:
    with pytest.raises(PollError) as failed:
        await request("127.0.0.1", free_port, "GET", "/", now() + GENEROUS_S)
    assert failed.value.kind is FaultKind.REFUSED


async def test_a_header_that_no_request_may_carry_is_never_sent() -> None:
    async with scripted_pages({"/": page(b"")}) as site:
        for bad in ("a\r\nX-Evil: 1", "a\0b"):
            with pytest.raises(PollError) as failed:
                await get(site, headers=(("Token", bad),))
            assert failed.value.kind is FaultKind.MALFORMED
        with pytest.raises(PollError):
            await get(site, "/a b\r\nX: y")
        assert site.asked == []


async def test_no_fault_leaves_a_descriptor() -> None:
    async def look() -> None:
        for answer in (Reset(), b"", page(b"", 302, "Location: /x"), KeepOpen(page(b"{}"))):
            async with scripted_pages({"/": answer}) as site:
                try:
                    await get(site)
                except PollError:
                    pass

    await look()
    before = descriptors()
    for _ in range(5):
        await look()
    for _ in range(100):
        if descriptors() <= before:
            break
        await asyncio.sleep(0.01)
    assert descriptors() <= before


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_bytes_raise_anything_but_a_poll_error(noise: bytes, step: int) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED):
        conversation = _Conversation("GET", "/", (("Host", "h"),), None, 1000)
        raw = start + noise
        try:
            for at in range(0, len(raw), step):
                if conversation.feed(raw[at : at + step]):
                    break
            assert len(conversation.finish().body) <= 1000
        except PollError:
            pass


# --- status ------------------------------------------------------------------------------------------------------


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with (
        scripted_pages({"/": page(b"gotcha")}) as elsewhere,
        scripted_pages({"/": page(b"", 302, f"Location: http://127.0.0.1:{elsewhere.port}/")}) as site,
    ):
        response = await get(site)
        assert response.status == 302
        assert elsewhere.asked == []
        assert len(site.asked) == 1
    with pytest.raises(PollError, match="redirects") as failed:
        require_ok(response, "/")
    assert failed.value.kind is FaultKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FaultKind.DENIED),
        (403, FaultKind.DENIED),
        (404, FaultKind.UNSUPPORTED),
        (405, FaultKind.UNSUPPORTED),
        (501, FaultKind.UNSUPPORTED),
        (301, FaultKind.UNSUPPORTED),
        (308, FaultKind.UNSUPPORTED),
        (500, FaultKind.MALFORMED),
        (503, FaultKind.MALFORMED),
        (400, FaultKind.MALFORMED),
        (600, FaultKind.MALFORMED),
    ],
)
def test_what_a_status_means(status: int, kind: FaultKind) -> None:
    with pytest.raises(PollError, match=f"/x: .*{status}") as failed:
        require_ok(Response(status, (), b""), "/x")
    assert failed.value.kind is kind


@pytest.mark.parametrize("status", [200, 204])
def test_a_2xx_is_fine(status: int) -> None:
    require_ok(Response(status, (), b""), "/x")


# --- digest ------------------------------------------------------------------------------------------------------

MUFASA = Credential("Mufasa", "Circle of Life")
NONCE_7616 = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE_7616 = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_vectors_of_rfc_7616(algorithm: str, response: str) -> None:
    """Section 3.9.1."""
    assert response == digest_response(
        algorithm, MUFASA, "http-auth@example.org", NONCE_7616, "GET", "/dir/index.html", "auth", 1, CNONCE_7616
    )


def test_the_vector_of_rfc_2617() -> None:
    """Section 3.5."""
    assert digest_response(
        "MD5", Credential("Mufasa", "Circle Of Life"), "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "GET", "/dir/index.html", "auth", 1, "0a4f113b",
    ) == "6629fae49393a05397450978507c4ef1"  # fmt: skip


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="antMiner Configuration", nonce="abc", qop="auth", algorithm=MD5',
        'Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256, opaque="5ccc"',
        'Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess',
        'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256-SESS',
        'Digest realm="r", nonce="n"',
        'digest realm="it, is", nonce="n==", qop=auth',
    ],
)
def test_another_implementation_answers_a_challenge_the_same(challenge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = httpx.DigestAuth(*OPERATOR)
    monkeypatch.setattr(theirs, "_get_client_nonce", lambda count, nonce: b"0123456789abcdef")
    asked = httpx.Request("GET", "http://h/cgi-bin/stats.cgi?x=1")
    flow = theirs.auth_flow(asked)
    next(flow)
    answered = flow.send(httpx.Response(401, headers={"www-authenticate": challenge}, request=asked))
    ours = Digest(OPERATOR)
    assert ours.accept([challenge])
    said = fields_of(ours.authorization("GET", "/cgi-bin/stats.cgi?x=1", cnonce="0123456789abcdef"))
    wanted = fields_of(answered.headers["authorization"])
    assert {name: said[name] for name in ("username", "realm", "nonce", "uri", "response")} == {
        name: wanted[name] for name in ("username", "realm", "nonce", "uri", "response")
    }
    assert (said.get("qop"), said.get("nc"), said.get("opaque")) == (
        wanted.get("qop"), wanted.get("nc"), wanted.get("opaque")
    )  # fmt: skip


def fields_of(authorization: str) -> dict[str, str]:
    assert authorization.startswith("Digest ")
    found = re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', authorization)
    return {name.lower(): quoted or bare for name, quoted, bare in found}


class DigestServer:
    """Checks an answer by the text of RFC 7616, with MD5 and qop auth; a nonce lives for `uses` answers."""

    def __init__(self, password: str = OPERATOR.password, uses: int = 1000) -> None:
        self.password = password
        self.uses = uses
        self.nonce = 0
        self.counts: list[int] = []

    def __call__(self, asked: Asked) -> bytes:
        said = fields_of(asked.headers["authorization"]) if "authorization" in asked.headers else {}
        if said and said["nonce"] == f"n{self.nonce}" and len(self.counts) < self.uses and self.is_right(asked, said):
            self.counts.append(int(said["nc"], 16))
            return page(b"{}")
        self.nonce += 1
        self.counts = []
        challenge = f'Digest realm="antMiner", nonce="n{self.nonce}", qop="auth", algorithm=MD5'
        return page(b"no", 401, 'WWW-Authenticate: Basic realm="antMiner"', f"WWW-Authenticate: {challenge}")

    def is_right(self, asked: Asked, said: dict[str, str]) -> bool:
        def md5(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        secret = md5(OPERATOR.user, "antMiner", self.password)
        proof = md5(secret, said["nonce"], said["nc"], said["cnonce"], "auth", md5(asked.method, asked.target))
        return said["response"] == proof and int(said["nc"], 16) == len(self.counts) + 1


async def test_after_the_first_refusal_every_question_costs_one_request() -> None:
    server = DigestServer()
    async with scripted_pages(server) as site:
        login = Digest(OPERATOR)
        for target in ("/cgi-bin/summary.cgi", "/cgi-bin/stats.cgi", "/cgi-bin/pools.cgi?x=1"):
            assert (await get(site, target, digest=login)).status == 200
        assert server.counts == [1, 2, 3]
        assert len(site.asked) == 4


async def test_a_nonce_that_ran_out_is_replaced_in_the_same_look() -> None:
    server = DigestServer(uses=2)
    async with scripted_pages(server) as site:
        login = Digest(OPERATOR)
        statuses = [(await get(site, digest=login)).status for _ in range(5)]
        assert statuses == [200] * 5
        assert len(site.asked) == 1 + 2 + 1 + 2 + 1 + 1


async def test_a_wrong_password_is_tried_once_a_look() -> None:
    async with scripted_pages(DigestServer(password="another")) as site:
        login = Digest(OPERATOR)
        for look in (1, 2):
            response = await get(site, digest=login)
            assert response.status == 401
            with pytest.raises(PollError) as failed:
                require_ok(response, "/")
            assert failed.value.kind is FaultKind.DENIED
            assert sum("authorization" in asked.headers for asked in site.asked) == look
        assert not login.is_ready


async def test_without_a_login_a_challenge_is_only_an_answer() -> None:
    async with scripted_pages(DigestServer()) as site:
        assert (await get(site)).status == 401
        assert len(site.asked) == 1


async def test_the_password_never_goes_over_the_wire() -> None:
    async with scripted_pages(lambda _: page(b"", 401, 'WWW-Authenticate: Basic realm="give me"')) as site:
        assert (await get(site, digest=Digest(OPERATOR))).status == 401
        assert all("authorization" not in asked.headers for asked in site.asked)
        assert len(site.asked) == 1


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Digest",
        "Digest realm=only",
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", algorithm=ROT13',
        'Digest realm="r", nonce="n", algorithm=-SESS',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Basic realm="r", nonce="n"',
        'Digest realm="r", nonce="' + "n" * 3000 + '"',
    ],
)
def test_challenges_that_cannot_be_answered_are_not(challenge: str) -> None:
    login = Digest(OPERATOR)
    assert not login.accept([challenge])
    assert not login.is_ready


def test_the_same_nonce_again_is_a_refusal() -> None:
    login = Digest(OPERATOR)
    assert login.accept(['Digest realm="r", nonce="n", qop="auth"'])
    assert not login.accept(['Digest realm="r", nonce="n", qop="auth", stale=true'])


def test_quotes_in_a_name_cannot_end_its_field() -> None:
    login = Digest(Credential('ro"ot, uri="/evil', "x"))
    assert login.accept(['Digest realm="r\\"r", nonce="n", qop="auth"'])
    said = login.authorization("GET", "/")
    assert said.startswith('Digest username="ro\\"ot, uri=\\"/evil", realm="r\\"r", nonce="n", uri="/"')


@given(st.text(max_size=2500))
def test_no_challenge_takes_long_or_raises(challenge: str) -> None:
    login = Digest(OPERATOR)
    for text in (challenge, "Digest " + challenge):
        if login.accept([text]):
            login.authorization("GET", "/")


@pytest.mark.parametrize("filler", ["a", "a=", 'a="', " ", ",", "a ", '\\"', "digest "])
def test_a_long_challenge_is_read_in_one_pass(filler: str) -> None:
    begin = time.process_time()
    Digest(OPERATOR).accept(["Digest " + (filler * 2040)[:2040]])
    assert time.process_time() - begin < 1.0
