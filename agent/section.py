"""What every table of the configuration file is made of: strict sections, secrets that show themselves to nobody, and
the one error that an operator gets to see.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1, max_length=256)]


class ConfigError(Exception):
    """One line for the operator: which file, which key, what is wrong with it."""

    def __init__(self, key: str, message: str, file: str = "") -> None:
        super().__init__(": ".join(part for part in (file, key, message) if part))
        self.key = key
        self.message = message
        self.file = file


class Secret:
    """A text that shows itself to nobody but the one who calls `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a secret is not serialised")


class Section(Struct, frozen=True):
    """A table of the file; every key it does not declare is an error."""
