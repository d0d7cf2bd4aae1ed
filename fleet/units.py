"""The few conversions and named constants; everything else in the project is in base units.

Hashrate is H/s, power W, energy J, temperature degrees Celsius, time seconds. Money keeps the units in which the field
quotes it: hashprice in USD/PH/day, power in USD/kWh, margins in USD/h.
"""

SECONDS_PER_HOUR = 3600.0
SECONDS_PER_DAY = 86_400.0
HOURS_PER_DAY = 24.0

KILO = 1e3
MEGA = 1e6
GIGA = 1e9
TERA = 1e12
PETA = 1e15

JOULES_PER_KWH = 3.6e6
WATTS_PER_KW = 1e3
SATS_PER_BTC = 100_000_000

HASHES_PER_DIFFICULTY_1 = 4_294_967_296.0
"""Expected hashes for one share of difficulty 1, 2**32 (Bitcoin's pool difficulty convention)."""

BLOCK_INTERVAL_S = 600.0
