"""One look at one ASIC miner over its own protocol."""
