"""The ways in which a machine, a PDU or a feed of the virtual farm can misbehave on the wire.

One closed list for all three, so that a test can walk it. Loopback has no dead cables: `SILENT` is made with a
listener whose backlog is full, so the kernel drops every SYN, which a client cannot tell from a powered-off host.
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


SLOW_S = 1.5
DRIBBLE_S = 0.5
OVERSIZE_BYTES = 8 * 1024 * 1024
GARBAGE = b'{"STATUS":[{"STATUS":"S","When":17\xff\xfe\x00\x01<html>502 Bad Gateway</html>'
