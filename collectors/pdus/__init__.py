"""One look at one rack PDU over SNMP; device families are data (`profiles/*.toml`)."""
