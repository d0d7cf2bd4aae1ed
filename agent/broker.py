"""The MQTT 5 connection, and the only owner of paho: one thread, one client per connection, never an exception.

Each connection is a new client, so nothing that was in flight on a lost one is ever sent again; a recommendation must
not be repeated by a library that knows nothing of its age. While there is no connection nothing is queued: state is
published afresh afterwards. The birth goes out on every connection, the will and the farewell say offline.

Whoever publishes looks at `session`: it rises with every connection, and a new one means that the other side may know
nothing any more.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import (
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessageInfo,
    MQTTv5,
)
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from exporters.mqtt import Message

log = logging.getLogger(__name__)

KEEPALIVE_S = 20  # a gateway that vanishes is noticed after one and a half of it
MAX_PENDING = 10_000  # messages handed to the library and not yet acknowledged; it could hold 65,535
BACK_OFF_S = (1.0, 60.0)
_IN_FLIGHT = 50  # the throughput optimum of the library; the broker may announce less
_REFUSED = 0x80  # MQTT 5: reason codes from here on are failures


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Where and as whom. With TLS the server's certificate is always checked, by `ca_file` or the system's."""

    host: str
    port: int
    client_id: str
    is_tls: bool = False
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class Broker:
    """One broker, kept connected from `start` to `stop`. `send` may be called from any thread."""

    def __init__(self, options: BrokerOptions, *, birth: Message, will: Message, farewell: Message | None = None):
        self._options = options
        self._birth, self._will, self._farewell = birth, will, farewell or will
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._client: Client | None = None
        self._ending = ""  # why the connection ended
        self._pending = 0
        self._session = 0
        self._counts: Counter[str] = Counter(accepted=0, refused=0, offline=0, full=0)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    @property
    def session(self) -> int:
        """Number of the connection, from 1 on; 0 before the first."""
        return self._session

    @property
    def room(self) -> int:
        """How many messages may be sent now; 0 while there is no connection."""
        return max(0, MAX_PENDING - self._pending) if self.is_connected else 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages by outcome: accepted by the broker, refused by it, not sent because offline or full."""
        with self._lock:
            return dict(self._counts)

    def start(self) -> None:
        """Connect in the background; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Say farewell if connected, disconnect, and wait for the thread."""
        self._stopping.set()
        client = self._client
        if client is not None and self.is_connected:
            try:
                self._publish(client, self._farewell).wait_for_publish(timeout_s)
            except (ValueError, RuntimeError):
                pass  # the connection was lost in this moment: the will says the same
        if client is not None:
            client.disconnect()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def send(self, message: Message) -> bool:
        """Hand a message over; False, and counted, when there is no connection or no room, or no such topic can be."""
        client = self._client
        if client is None or not self.is_connected:
            return self._count("offline")
        if self._pending >= MAX_PENDING:
            return self._count("full")
        if not message.topic or any(character in message.topic for character in "\0+#"):
            return self._count("refused")  # mosquitto answers a NUL by cutting the link, again after each reconnect
        try:
            code = self._publish(client, message).rc
        except ValueError:
            with self._lock:
                self._pending -= 1
            return self._count("refused")
        return code == MQTTErrorCode.MQTT_ERR_SUCCESS or self._count("offline")

    def _publish(self, client: Client, message: Message) -> MQTTMessageInfo:
        with self._lock:
            self._pending += 1
        return client.publish(
            message.topic, message.payload, message.qos, message.retain, _properties(message, PacketTypes.PUBLISH)
        )

    def _count(self, outcome: str) -> bool:
        with self._lock:
            self._counts[outcome] += 1
        return False

    def _run(self) -> None:
        """Connect, serve, wait a little longer after each failure; ends only when told to."""
        wait_s, is_known_bad = BACK_OFF_S[0], False
        while not self._stopping.is_set():
            session = self._session
            problem = self._serve()
            self._connected.clear()
            if self._session > session:  # it had worked
                wait_s, is_known_bad = BACK_OFF_S[0], False
            if self._stopping.is_set():
                break
            if not is_known_bad:
                log.warning("mqtt %s:%d: %s; trying again", self._options.host, self._options.port, problem)
                is_known_bad = True
            self._stopping.wait(wait_s)
            wait_s = min(wait_s * 2, BACK_OFF_S[1])

    def _serve(self) -> str:
        """One connection from beginning to end; what ended it."""
        try:
            client = self._new_client()
            client.connect(self._options.host, self._options.port, KEEPALIVE_S, clean_start=True)
            self._client = client
            if self._stopping.is_set():
                client.disconnect()
            client.loop_forever()
            return self._ending
        except (OSError, ValueError) as error:  # refused, unknown host, handshake, unreadable certificate
            return str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001  a broker may break the library, never the agent
            return f"the MQTT library failed: {type(error).__name__}"
        finally:
            self._client = None

    def _new_client(self) -> Client:
        self._ending = "the connection was closed"
        with self._lock:
            self._pending = 0
        options = self._options
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=options.client_id, protocol=MQTTv5, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.max_queued_messages_set(2 * MAX_PENDING)
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if options.is_tls:
            context = ssl.create_default_context(cafile=options.ca_file)
            if options.cert_file:
                context.load_cert_chain(options.cert_file, options.key_file)
            client.tls_set_context(context)
        will = self._will
        client.will_set(will.topic, will.payload, will.qos, will.retain, _properties(will, PacketTypes.WILLMESSAGE))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    # Callbacks run in the thread of `_run`.

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._ending = f"the broker refused us: {code}"
            return
        log.info("mqtt %s:%d: connected", self._options.host, self._options.port)
        self._publish(client, self._birth)
        self._session += 1
        self._connected.set()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        self._connected.clear()
        if code.is_failure and self._ending == "the connection was closed":
            self._ending = f"the connection was closed: {code}"

    def _on_publish(
        self, _client: Client, _data: object, _mid: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._lock:
            self._pending -= 1
            self._counts["refused" if code.value >= _REFUSED else "accepted"] += 1


def _properties(message: Message, packet: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.ContentType = message.content_type
    properties.PayloadFormatIndicator = 1  # UTF-8 text
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = max(1, int(message.expiry_s))
    return properties
