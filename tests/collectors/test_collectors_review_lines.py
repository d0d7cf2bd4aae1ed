"""Who answers, how often a login is shown and to whom, and what a refusal means: lines that no test held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from page_makes import identified

from collectors import neighbours
from collectors.miners import cgminer, evidence
from collectors.miners.identify import DEVDETAILS, DEVICE_INFO, LANDING, V1_VERSION, VERSION, identify
from collectors.miners.line import Line
from collectors.miners.make import HTTP_PORT, Ask, Credential, Login, Via
from collectors.miners.transport import _Deadline
from fleet.ports import PollError
from fleet.readings import FaultKind, OperatingState

LOGIN = Credential("root", "canary-password")
NAMELESS = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "invalid cmd", "Description": ""}]}

# --- who answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["M50S_VH50", "M30S++_VG40", "M60S_VK40", "M66S++_VL40"])
def test_a_whatsminer_without_a_name_is_known_by_its_model(model: str) -> None:
    details = {"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"ID": 0, "Name": "SM", "Driver": "", "Model": model}]}
    assert identified({VERSION: NAMELESS, DEVDETAILS: details}) == ("whatsminer", ["version", "devdetails"])


@pytest.mark.parametrize(("has_login", "maker"), [(True, "braiins_rest"), (False, "braiins")])
def test_braiins_is_read_behind_its_login_only_with_one(has_login: bool, maker: str) -> None:
    version = {"STATUS": [{"STATUS": "S", "Description": "BOSer 1.0"}]}
    assert identified({VERSION: version, V1_VERSION: {"major": 1}}, has_login=has_login)[0] == maker


@pytest.mark.parametrize(
    ("known", "answers", "maker", "asked"),
    [
        ("antminer", {VERSION: {"VERSION": [{"Type": "Antminer S19"}]}}, "antminer", ["version"]),
        ("axeos", {}, "axeos", ["version"]),
        ("whatsminer_v3", {VERSION: {"STATUS": "E", "Description": "btminer"}}, "whatsminer_v3", ["version"]),
        ("antminer", {VERSION: {"VERSION": [{"LUXminer": "2025"}]}}, "luxos", ["version"]),
        ("whatsminer", {VERSION: {"VERSION": [{"PROD": "AvalonMiner 15"}]}}, "avalon", ["version"]),
        (
            "avalon",
            {VERSION: NAMELESS, DEVICE_INFO: {"msg": {}}},
            "whatsminer_v3",
            ["version", "devdetails", "get_version", "get_device_info"],
        ),
    ],
)
def test_a_make_from_before_counts_where_nothing_speaks_against_it(
    known: str, answers: dict[Ask, Any], maker: str, asked: list[str]
) -> None:
    assert identified(answers, known=known) == (maker, asked)


async def test_a_silent_port_leaves_time_for_the_others() -> None:
    given: list[float] = []

    class Silent(Line):
        async def ask(self, ask: Ask, deadline_at: float) -> Any:
            given.append(deadline_at)
            raise PollError(FaultKind.TIMEOUT, "silent")

    now = asyncio.get_running_loop().time()
    with pytest.raises(PollError):
        await identify(Silent("127.0.0.1"), now + 10.0)
    assert [round(at - now, 1) for at in given] == [6.0, 6.0]  # no time has passed between


# --- logins ----------------------------------------------------------------------------------------------------------


class Pages:
    """A web server on 127/8 with a challenge before `/private` and a token at `/login`; it notes every request."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.status = 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heard.append(head)
        path, has_login = head.split(" ")[1], "authorization: digest" in head.lower()
        status = 401 if path == "/private" and not has_login else self.status if path == "/page" else 200
        challenge = b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n' if status == 401 else b""
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%s\r\n{}" % (status, challenge))
        writer.close()

    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heard]


@pytest.fixture
async def pages() -> Any:
    site = Pages()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    async with server:
        line = Line("127.0.0.1", {HTTP_PORT: server.sockets[0].getsockname()[1]}, LOGIN)
        yield site, line


def question(path: str, **more: Any) -> Ask:
    return Ask(path.strip("/"), path, Via.HTTP, HTTP_PORT, **more)


TOKEN = Login(ask=lambda credential: question("/login"), headers=lambda answer: {"token": "canary-token"})


def soon() -> float:
    return asyncio.get_running_loop().time() + 5.0


async def test_only_a_page_behind_the_login_is_shown_it(pages: tuple[Pages, Line]) -> None:
    site, line = pages
    await line.ask(question("/private", needs_login=True), soon())
    await line.ask(LANDING, soon())
    assert site.paths() == ["/private", "/private", "/"]
    assert ["authorization" in head.lower() for head in site.heard] == [False, True, False]


async def test_a_token_is_fetched_once_and_again_where_it_is_refused(pages: tuple[Pages, Line]) -> None:
    site, line = pages
    for site.status in (200, 200, 403, 200):
        await line.log_in(TOKEN, soon())
        try:
            await line.ask(question("/page"), soon())
        except PollError as error:
            assert error.kind is FaultKind.DENIED  # noqa: PT017
    assert site.paths() == ["/login", "/page", "/page", "/page", "/login", "/page"]


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["Access denied", "token is used up", "can't access write cmd"])
def test_words_tell_a_denial_whatever_its_code_is(message: str) -> None:
    reply = {"STATUS": "E", "Code": 131, "Msg": message}
    with pytest.raises(PollError) as caught:
        cgminer.require(reply, "pools")
    assert caught.value.kind is FaultKind.DENIED


@pytest.mark.parametrize(
    ("has_pool", "state"),
    [(True, OperatingState.FAULTED), (None, OperatingState.FAULTED), (False, OperatingState.IDLE)],
)
def test_a_machine_without_a_pool_is_idle_whatever_it_complains_of(
    has_pool: bool | None, state: OperatingState
) -> None:
    assert evidence.state(0.0, 0.0, 7200.0, has_pool=has_pool, has_error=True) is state


# --- deadlines -------------------------------------------------------------------------------------------------------


async def test_a_cancellation_that_comes_with_the_deadline_stays_one() -> None:
    """Else a worker that is told to end would take its end for a fault of the machine, and look on."""

    async def look() -> None:
        with _Deadline(asyncio.get_running_loop(), float("inf")) as deadline:
            deadline.come()
            task.cancel()
            await asyncio.sleep(30.0)

    task = asyncio.ensure_future(look())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_connect_never_outlasts_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []

    class Seen(_Deadline):
        def __init__(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
            ends.append(at)
            super().__init__(loop, at)

    monkeypatch.setattr("collectors.miners.transport._Deadline", Seen)
    deadline_at = asyncio.get_running_loop().time() + 0.5
    with pytest.raises(PollError):
        await Line("127.0.0.1", {HTTP_PORT: 1}).ask(LANDING, deadline_at)
    assert ends == [deadline_at]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_a_long_broken_reply_stays_broken() -> None:
    """The repair runs in Python: a megabyte of it would hold the worker."""
    text = b'{"STATUS":[{"STATUS":"S"}],"X":"' + b"x" * cgminer.MAX_REPAIR_BYTES + b'",}'
    assert cgminer.decode(text.replace(b"xxxxxxxxxxxxxxxx", b"")).warnings == ("repaired",)
    with pytest.raises(PollError) as caught:
        cgminer.decode(text)
    assert caught.value.kind is FaultKind.MALFORMED


def test_an_address_that_we_answer_for_ourselves_is_no_neighbour() -> None:
    row = "10.0.0.7         0x1         {flags}         02:00:5e:10:00:01     *        eth0\n"
    assert neighbours.parse(row.format(flags="0x2")) == {"10.0.0.7": "02005e100001"}
    assert neighbours.parse(row.format(flags="0xa")) == {}
