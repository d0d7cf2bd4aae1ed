"""The line to one machine: carries one question at a time, by the transport that the question names.

It talks to the one host that it was made for, sends a login only where the operator gave one, and never follows a
redirect. Ports are the usual ones unless `ports` puts others in their place (several machines behind one address).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from collectors.miners import cgminer, hearing
from collectors.miners.make import Ask, Credential, Login, Via
from collectors.miners.transport import collect, exchange_bytes
from fleet.ports import PollError
from fleet.readings import FaultKind

USUAL_PORTS: Mapping[int, int] = MappingProxyType({})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@lru_cache(maxsize=256)
def _joined_request(commands: tuple[str, ...]) -> bytes:
    return cgminer.encode("+".join(commands))


class Line:
    """One host, its ports and its login. Errors of every question: PollError."""

    __slots__ = ("_digest", "_headers", "credential", "host", "ports")

    def __init__(self, host: str, ports: Mapping[int, int] = USUAL_PORTS, credential: Credential | None = None) -> None:
        self.host = host
        self.ports = ports
        self.credential = credential
        self._headers = _NO_HEADERS
        self._digest: Any = None

    async def ask(self, ask: Ask, deadline_at: float) -> Any:
        """The decoded and accepted answer to one question."""
        if ask.is_rpc and not ask.is_text:
            receiver = cgminer.Receiver()
            await collect(receiver, self.host, self._port(ask.port), ask.request, deadline_at)
            return hearing.accepted(ask, receiver.finish())
        return hearing.hear(ask, await self.ask_raw(ask, deadline_at))

    async def ask_joined(self, asks: Sequence[Ask], deadline_at: float) -> cgminer.Reply:
        """The whole reply to several parameterless commands in one connection."""
        request = _joined_request(tuple([ask.what for ask in asks]))
        receiver = cgminer.Receiver()
        await collect(receiver, self.host, self._port(asks[0].port), request, deadline_at)
        return receiver.finish()

    async def ask_raw(self, ask: Ask, deadline_at: float) -> bytes:
        """The bytes of the answer, without terminator or length; of a page with its status line and headers."""
        match ask.via:
            case Via.RPC:
                return await exchange_bytes(self.host, self._port(ask.port), ask.request, deadline_at)
            case Via.FRAMED:
                from collectors.miners.framed import exchange_framed

                return await exchange_framed(self.host, self._port(ask.port), ask.request, deadline_at)
            case Via.HTTP:
                return await self._fetch(ask, deadline_at)

    async def log_in(self, login: Login, deadline_at: float) -> None:
        """Get the token that later questions carry. Nothing is sent without the operator's credential."""
        if self.credential is None or self._headers:
            return
        self._headers = dict(login.headers(await self.ask(login.ask(self.credential), deadline_at)))

    def log_out(self) -> None:
        """Forget the token: it has run out, or another machine answers."""
        self._headers = _NO_HEADERS
        self._digest = None

    async def _fetch(self, ask: Ask, deadline_at: float) -> bytes:
        from collectors.miners import http

        if self._digest is None and self.credential is not None:
            self._digest = http.Digest(self.credential)
        response = await http.request(
            self.host,
            self._port(ask.port),
            "GET" if ask.body is None else "POST",
            ask.what,
            deadline_at,
            headers=tuple(self._headers.items()),
            body=ask.body,
            digest=self._digest if ask.needs_login else None,
        )
        if ask.is_text:
            return http.as_text(response)
        if not ask.any_status:
            try:
                http.require_ok(response, ask.what)
            except PollError as error:
                if error.kind is FaultKind.DENIED:
                    self.log_out()
                raise
        return response.body

    def _port(self, usual: int) -> int:
        return self.ports.get(usual, usual)
