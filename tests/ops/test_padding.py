"""Padding of several axes at once, wider than the array too, against NumPy."""

import numpy as np
import pytest

import mlx.core as mx

WIDTHS = {
    (7,): [(0, 0), (3, 0), (0, 9), (20, 15)],
    (5, 6): [((1, 2), (0, 3)), ((0, 0), (4, 4)), ((9, 0), (1, 14))],
    (3, 4, 5): [((1, 2), (3, 0), (0, 3)), ((0, 0), (2, 2), (2, 2)), ((7, 1), (0, 0), (0, 11))],
}
CASES = [(shape, widths) for shape, several in WIDTHS.items() for widths in several]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("shape, widths", CASES)
def test_against_numpy(mode: str, shape: tuple[int, ...], widths: tuple) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pairs = [widths] if len(shape) == 1 else list(widths)
    found = mx.pad(mx.array(x), pairs, mode=mode)
    assert np.array_equal(found, np.pad(x, pairs, mode=mode))


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("widths", [(3, 17), (40, 5), (0, 33), (200, 201)])
def test_mirrored_again_and_again(mode: str, size: int, widths: tuple[int, int]) -> None:
    x = np.arange(size)
    assert np.array_equal(mx.pad(mx.array(x), widths, mode=mode), np.pad(x, widths, mode=mode))


def test_the_gradient_adds_what_was_repeated() -> None:
    x = mx.array(np.arange(6, dtype=np.float32).reshape(2, 3))
    for mode, want in {"edge": [[4, 2, 4], [4, 2, 4]], "symmetric": [[4, 4, 4], [4, 4, 4]]}.items():
        width = 1 if mode == "edge" else ((1, 1), (0, 3))
        found = mx.grad(lambda z, w=width, m=mode: mx.pad(z, w, mode=m).sum())(x)
        assert found.tolist() == want
