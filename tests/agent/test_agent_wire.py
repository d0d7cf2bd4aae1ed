"""Frames: what goes in comes out, cut anywhere; everything else is a FrameError and nothing worse."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire import (
    Assignment,
    FrameError,
    FrameReader,
    Job,
    Outcome,
    Pulse,
    Report,
    encode_frame,
    outcome_frames,
)
from fleet.market import MarketInput, Quote
from fleet.readings import (
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    PduReading,
    PduRow,
    Quality,
    RowKind,
    Sensor,
    Temperature,
)

MINER = MinerReading(
    driver="antminer",
    make="Antminer",
    model="S19j Pro",
    state=OperatingState.MINING,
    hashrate_hs=96.4e12,
    temperatures=(Temperature(Sensor.CHIP, 2, 71.0),),
    fans_rpm=(5880.0, None),
    warnings=("repaired_comma",),
)
PDU = PduReading(
    profile="apc-rpdu2",
    power_w=4120.0,
    power_quality=Quality.MEASURED,
    rows=(PduRow(RowKind.OUTLET, "7", power_w=3050.0, is_on=True),),
)
QUOTE = Quote(MarketInput.DIFFICULTY, "mempool", 141.67e12, 1.7e9, 2700.0, math.inf)
OUTCOMES = (
    Outcome("10.1.0.7", "antminer", 1.7e9, 0.031, 0.002, reading=MINER),
    Outcome("pdu-3", "snmp", 1.7e9, 0.2, 0.0, pdu=PDU),
    Outcome("mempool", "mempool", 1.7e9, 0.4, 0.0, quotes=(QUOTE,)),
    Outcome("10.1.0.8", "antminer", 1.7e9, 5.0, 0.0, fault=Fault(FaultKind.TIMEOUT, "no answer within 5 s")),
)
PULSE = Pulse(1.7e9, 1000, 12, 4000, 3, 2, 1, 0.4, 50_000_000, 30, 12.5)
REPORT = Report(OUTCOMES, PULSE)


def test_a_report_survives_the_pipe() -> None:
    assert FrameReader(Report).feed(encode_frame(REPORT)) == [REPORT]


def test_an_assignment_survives_the_pipe() -> None:
    options: dict[str, str | float | bool] = {"user": "root", "tls": True, "timeout_s": 2.5}
    assignment = Assignment("native", (Job("10.1.0.7", "antminer", "10.1.0.7", 4028, 30.0, 5.0, options),), 200)
    assert FrameReader(Assignment).feed(encode_frame(assignment)) == [assignment]


def test_the_length_is_four_bytes_little_endian() -> None:
    frame = encode_frame("x" * 300)
    assert frame[:4] == bytes([47, 1, 0, 0])  # 303 = 300 characters and MessagePack's 3-byte head of a long string
    assert len(frame) == 4 + 303


@settings(deadline=None)  # how fast this machine is plays no part
@given(st.lists(st.integers(1, 700), max_size=20))
def test_frames_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = encode_frame(REPORT) + encode_frame(Report()) + encode_frame(REPORT)
    reader, received, start = FrameReader(Report), [], 0
    for cut in [*cuts, len(stream)]:
        received += reader.feed(stream[start : start + cut])
        start += cut
    assert received == [REPORT, Report(), REPORT]


def test_an_unfinished_frame_gives_nothing_yet() -> None:
    frame = encode_frame(REPORT)
    reader = FrameReader(Report)
    assert reader.feed(frame[:-1]) == []
    assert reader.feed(frame[-1:]) == [REPORT]


NESTED = b"\x91" * 100_000  # arrays in arrays; 4 bytes of length are put before it


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"Traceback (most recent call last):\n", id="text"),
        pytest.param((9 * 1024 * 1024).to_bytes(4, "little"), id="length beyond the limit, body never sent"),
        pytest.param(bytes([1, 0, 0, 0, 0xC1]), id="byte that MessagePack never uses"),
        pytest.param(bytes([0, 0, 0, 0]), id="empty body"),
        pytest.param(encode_frame({"outcomes": [{"key": 1}]}), id="another type"),
        pytest.param(encode_frame({"outcomes": [], "pulse": 3}), id="another field type"),
        pytest.param(len(NESTED).to_bytes(4, "little") + NESTED, id="100,000 nested arrays"),
    ],
)
def test_what_is_no_frame_breaks_the_stream_for_good(stream: bytes) -> None:
    reader = FrameReader(Report)
    with pytest.raises(FrameError):
        reader.feed(stream)
    with pytest.raises(FrameError):
        reader.feed(encode_frame(REPORT))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_frame_errors(noise: bytes) -> None:
    try:
        FrameReader(Report, max_bytes=1000).feed(noise)
    except FrameError:
        pass


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="limit 100"):
        encode_frame("x" * 200, max_bytes=100)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(MinerReading("a", "b", model="\ud800"), id="lone surrogate"),
        pytest.param(MinerReading("a", "b", hashrate_hs=10**40), id="integer beyond 64 bits"),
        pytest.param(MinerReading("a", "b", hashrate_hs="fast"), id="text for a number"),  # type: ignore[arg-type]
        pytest.param(MinerReading("a", "b", model=object()), id="foreign object"),  # type: ignore[arg-type]
        pytest.param(MinerReading("a", "b", model="x" * 9_000_000), id="giant"),
    ],
)
def test_one_bad_reading_becomes_a_fault_and_spares_its_neighbours(bad: MinerReading) -> None:
    batch = (*OUTCOMES, Outcome("bad", "pyasic", 1.7e9, 0.1, 0.25, reading=bad), *OUTCOMES)
    reader = FrameReader(Report)
    received = [
        outcome for frame in outcome_frames(batch) for report in reader.feed(frame) for outcome in report.outcomes
    ]
    assert received[:4] == received[5:] == list(OUTCOMES)
    assert received[4].reading is None
    assert (received[4].key, received[4].kind, received[4].lag_s) == ("bad", "pyasic", 0.25)
    assert received[4].fault is not None
    assert received[4].fault.kind is FaultKind.MALFORMED


def test_a_good_batch_is_one_frame() -> None:
    assert list(outcome_frames(OUTCOMES)) == [encode_frame(Report(OUTCOMES))]


def test_the_body_is_plain_messagepack() -> None:
    body = msgspec.msgpack.decode(encode_frame(REPORT)[4:])
    assert body["outcomes"][3]["fault"] == {"kind": "timeout", "detail": "no answer within 5 s", "wait_s": 0.0}
