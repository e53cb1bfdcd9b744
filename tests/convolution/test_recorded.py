"""Convolutions and their gradients agree with what MLX recorded."""

from pathlib import Path

import pytest

from tests.generators.convolution_cases import CASES, results
from tests.generators.deterministic import assert_close, flat, load

RECORDED = load(Path(__file__).with_name("recorded.npz"))


@pytest.mark.parametrize("name", CASES)
def test_agrees(name: str) -> None:
    expected = {key: v for key, v in RECORDED.items() if key.startswith(name + "/")}
    assert expected
    assert_close(flat(name, results(name)), expected)
