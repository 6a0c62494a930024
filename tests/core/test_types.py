"""Vectors and masks as Numba types: two of them are one type if, and only if, they need the same code."""

import itertools

import pytest
from numba.core import types

from fastbp.core.ir.types import Mask, Vector

DIFFERENT = (
    Vector(types.float32, 4),
    Vector(types.float32, 8),
    Vector(types.float64, 4),
    Mask(4),
    Mask(8),
    Mask(4, full=True),
)


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(DIFFERENT, 2)], ids=str)
def test_types_of_different_code_differ(one: types.Type, other: types.Type) -> None:
    assert one != other


@pytest.mark.parametrize("kind", DIFFERENT, ids=str)
def test_the_same_type_made_again_is_equal(kind: types.Type) -> None:
    again = Vector(kind.element, kind.lanes) if isinstance(kind, Vector) else Mask(kind.lanes, kind.full)
    assert again == kind
    assert hash(again) == hash(kind)
