"""Models as people call them; makers and models are those of recorded machines and of the libraries."""

from __future__ import annotations

import pytest

from fleet.naming import full_model
from fleet.site import fold_model


@pytest.mark.parametrize(
    ("make", "model", "shown"),
    [
        ("Avalon", "Q", "Avalon Q"),
        ("SEALMINER", "A2", "SEALMINER A2"),
        ("Proto", "Rig", "Proto Rig"),
        ("Auradine", "AT1500", "Auradine AT1500"),
        ("Bitaxe", "Supra", "Bitaxe Supra"),
        ("Antminer", "S19 XP", "S19 XP"),
        ("WhatsMiner", "M60S VK40", "M60S VK40"),
        ("Antminer", "Antminer S19j Pro", "Antminer S19j Pro"),
        ("AvalonMiner", "Avalon 1566", "Avalon 1566"),
        ("SEALMINER", "Sealminer A2", "Sealminer A2"),
        ("NerdAxe", "NerdQAxe++", "NerdQAxe++"),
        ("NMAxe", "NMQAxe++", "NMQAxe++"),
        ("ESP-Miner", "BitForge Nano", "BitForge Nano"),  # nobody says who makes it
        ("ePIC", "BlockMiner 520i", "ePIC BlockMiner 520i"),
        ("unknown", "X1", "X1"),
        ("", "Q", "Q"),
        (" ", "Q", "Q"),
        ("Avalon", "", ""),
        ("Avalon", " ", " "),
        (" Avalon ", " Q ", "Avalon Q"),
    ],
)
def test_a_model_stands_with_its_maker_where_its_own_name_tells_nothing(make: str, model: str, shown: str) -> None:
    assert full_model(make, model) == shown


@pytest.mark.parametrize(
    ("make", "model"),
    [
        ("Avalon", "Q"),
        ("SEALMINER", "A2"),
        ("Proto", "Rig"),
        ("Auradine", "AT1500"),
        ("Bitaxe", "Supra"),
        ("Braiins", "BMM 101"),
        ("LuckyMiner", "LV07"),
        ("Elphapex", "DG1+"),
        ("ePIC", "BlockMiner 520i"),
        ("ESP-Miner", "BitForge Nano"),
        ("NMAxe", "NMAxe"),
        ("NerdAxe", "NerdAxe"),
    ],
)
def test_both_names_are_one_model_to_the_catalogue_and_to_the_terms_of_the_operator(make: str, model: str) -> None:
    assert fold_model(full_model(make, model)) == fold_model(model)


def test_a_model_that_begins_like_a_maker_keeps_its_name() -> None:
    assert fold_model("Prototype 3") == "prototype3"
