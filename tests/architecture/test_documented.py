"""What the public modules export is documented."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

PUBLIC = [
    "mlx.core",
    "mlx.core.cuda",
    "mlx.core.distributed",
    "mlx.core.fast",
    "mlx.core.fft",
    "mlx.core.linalg",
    "mlx.core.metal",
    "mlx.core.random",
    "mlx.nn",
    "mlx.nn.init",
    "mlx.nn.losses",
    "mlx.optimizers",
    "mlx.utils",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_has_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    bare = [n for n, v in exported(module) if callable(v) and not inspect.getdoc(v)]
    assert bare == []


@pytest.mark.parametrize("name", [n for n in PUBLIC if n.startswith("mlx.core")])
def test_all_lists_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [n for n in module.__all__ if not hasattr(module, n)] == []


def exported(module: ModuleType) -> list[tuple[str, object]]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n in vars(module) if not n.startswith("_")]
    found = [(n, getattr(module, n)) for n in names]
    return [(n, v) for n, v in found if not inspect.ismodule(v) and _is_ours(v)]


def _is_ours(value: object) -> bool:
    return str(getattr(value, "__module__", "")).startswith("mlx")
