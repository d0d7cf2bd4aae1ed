"""The configuration file: TOML, strict. An unknown key, a wrong type or a missing file is one clear line, exit 2."""
