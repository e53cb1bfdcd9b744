"""Frozen classes behave as ``dataclass(frozen=True)`` makes them."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from mlx.base.frozen import Frozen, frozen


@frozen
class Plain(Frozen):
    """No field."""


@frozen
class Shift(Frozen):
    """One field, and one with a default."""

    bits: int
    left: bool = True


@frozen
class Renamed(Shift):
    """No field of its own."""


def test_construction_and_text() -> None:
    assert repr(Shift(3)) == "Shift(bits=3, left=True)"
    assert repr(Shift(bits=2, left=False)) == "Shift(bits=2, left=False)"
    assert repr(Plain()) == "Plain()"
    with pytest.raises(TypeError, match=r"Shift.__init__\(\) missing .* 'bits'"):
        Shift()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Plain(1)  # type: ignore[call-arg]


def test_equality_is_of_class_and_fields() -> None:
    assert Shift(3) == Shift(3) and hash(Shift(3)) == hash(Shift(3))
    assert Shift(3) != Shift(4) and Shift(3) != Renamed(3) and Shift(3) != 3
    assert Plain() == Plain() and Renamed(1) == Renamed(1)


def test_nothing_can_be_assigned() -> None:
    shift = Shift(3)
    with pytest.raises(dataclasses.FrozenInstanceError, match="bits"):
        shift.bits = 4  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="bits"):
        del shift.bits
    assert shift.bits == 3


def test_it_is_a_dataclass() -> None:
    shift = Shift(3)
    assert [f.name for f in dataclasses.fields(Renamed(1))] == ["bits", "left"]  # type: ignore[arg-type]
    assert dataclasses.replace(shift, left=False) == Shift(3, False)  # type: ignore[type-var]
    for again in (copy.copy(shift), copy.deepcopy(shift), pickle.loads(pickle.dumps(shift))):
        assert again == shift
