"""How people call a model: the maker's name before it, where the model's own name tells nothing.

Machines say "Q", "A2" or "Rig". For eyes only: readings, labels and topics keep maker and model apart, as told, and
`site.fold_model` takes both names for one.
"""

from __future__ import annotations

from functools import lru_cache

KNOWN_BY_MODEL = frozenset({"antminer", "whatsminer", "nmaxe", "esp-miner", "unknown"})
"""Makers whose models are known by their own names, as S19j Pro, M50S or NMQAxe++, and the words for none."""

ALIKE = 4  # letters: "Avalon 1566" of AvalonMiner and "NerdQAxe++" of NerdAxe need no maker before them


@lru_cache(maxsize=4096)
def full_model(make: str, model: str) -> str:
    """`Avalon Q` for "Avalon" and "Q". The model alone where it is not known, or where it says its maker itself."""
    maker, name = make.strip().casefold(), model.strip().casefold()
    if not maker or not name or maker in KNOWN_BY_MODEL or name.startswith(maker[:ALIKE]):
        return model
    return f"{make.strip()} {model.strip()}"
