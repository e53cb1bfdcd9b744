"""Names that the examples in docstrings use without importing them."""

import importlib

import pytest
from _pytest.doctest import DoctestItem

NAMES = {"mx": "mlx.core", "nn": "mlx.nn", "optim": "mlx.optimizers"}


@pytest.fixture(autouse=True)
def names_of_examples(request, doctest_namespace):
    if isinstance(request.node, DoctestItem):
        modules = {name: importlib.import_module(path) for name, path in NAMES.items()}
        doctest_namespace.update(modules)
