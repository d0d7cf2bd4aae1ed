"""What profiles cannot say as data: named rules that look at the decoded rows of one PDU once more.

A rule gets the rows and the objects that its profile names for it (None where the device has none), and gives the rows
that count. It decides from what one family does and why; it never sees a device's name or address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from collectors.pdus.snmp import Value
from fleet.readings import PduRow

Rule = Callable[[Sequence[PduRow], Sequence[Value | None]], Sequence[PduRow]]

RULES: Mapping[str, Rule] = MappingProxyType({})
