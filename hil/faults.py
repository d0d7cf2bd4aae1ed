"""The ways in which a machine, a PDU or a feed of the virtual farm can misbehave on the wire.

`Misbehaviour` is one closed list for all three, so that a test can walk it. Loopback has no dead cables: `SILENT` is
made with a listener whose backlog is full, so the kernel drops every SYN, which a client cannot tell from a
powered-off host. `PduMisbehaviour` are the ways of SNMP agents beside those; what each does is in `hil.manners`.
"""

from __future__ import annotations

from enum import StrEnum


class Misbehaviour(StrEnum):
    NONE = "none"
    HANG = "hang"  # accepts and never answers (UDP: never answers)
    REFUSE = "refuse"  # nobody listens
    SILENT = "silent"  # no answer at connect
    SLOW = "slow"  # right answer after SLOW_S
    DRIBBLE = "dribble"  # one byte every DRIBBLE_S: never done within any sane deadline
    MALFORMED = "malformed"  # bytes that no repair can read
    OVERSIZE = "oversize"  # a reply longer than any honest one


class PduMisbehaviour(StrEnum):
    UNPLUGGED = "unplugged"  # somebody has pulled the meter's plug: silence
    GARBAGE = "garbage"  # bytes that are no SNMP
    TRUNCATED = "truncated"  # half of the answer
    WRONG_ID = "wrong_id"  # an answer to another question
    OTHER_ADDRESS = "other_address"  # the right answer, from an address that nobody asked
    V1_ANSWER = "v1_answer"  # says version 1 whatever it was asked in
    DUPLICATE = "duplicate"  # every answer twice
    FEWER = "fewer"  # leaves out every second of the objects that were asked for
    SHUFFLED = "shuffled"  # answers a GET in another order
    NO_INSTANCE = "no_instance"  # lists rows in a walk that a GET does not find
    LOOPING = "looping"  # after the last row of a column comes its first one again
    DECREASING = "decreasing"  # each column from its last row to its first
    ENDLESS = "endless"  # each column has ENDLESS_ROWS rows
    TOO_BIG = "too_big"  # more than TOO_BIG_VARBINDS objects do not fit
    NEGATIVE_COUNTER = "negative_counter"  # measured numbers as Counter32 without the leading zero: negative
    EMPTY_INTEGER = "empty_integer"  # measured numbers as INTEGER of length zero
    TEXT_FOR_NUMBER = "text_for_number"
    OUT_OF_RANGE = "out_of_range"  # measured numbers say 65,000
    NUL_TEXT = "nul_text"  # names end in NUL and what was in the memory behind it
    BAD_TEXT = "bad_text"  # names with bad UTF-8 and control characters
    LONG_TEXT = "long_text"  # names of LONG_TEXT_BYTES
    FROZEN = "frozen"  # the values of one moment for ever; only sysUpTime goes on
    FLAPPING_UPTIME = "flapping_uptime"  # sysUpTime jumps to and fro
    REBOOTED = "rebooted"  # sysUpTime begins anew, everything else is as it was
    SWAPPED = "swapped"  # another device of the same make: its serial number is not the same


PduFault = Misbehaviour | PduMisbehaviour


def pdu_fault(name: str) -> PduFault:
    """A fault that a PDU can have, by its name. Errors: ValueError for a name that nothing has."""
    return Misbehaviour(name) if name in set(Misbehaviour) else PduMisbehaviour(name)


SLOW_S = 1.5
DRIBBLE_S = 0.5
OVERSIZE_BYTES = 8 * 1024 * 1024
ENDLESS_ROWS = 100_000
TOO_BIG_VARBINDS = 5
LONG_TEXT_BYTES = 4096
GARBAGE = b'{"STATUS":[{"STATUS":"S","When":17\xff\xfe\x00\x01<html>502 Bad Gateway</html>'
