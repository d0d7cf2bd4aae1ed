"""When and with what: the only place with time, retries and broad exception handlers."""
