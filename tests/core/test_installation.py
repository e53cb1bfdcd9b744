"""Importing: what it refuses, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"


def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    path = [str(SOURCES), *(str(f) for f in folders)]
    code = f"import sys; sys.path[:0] = {path!r}; {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_apples_mlx_in_the_same_environment(tmp_path: Path) -> None:
    folder = tmp_path / "mlx-9.9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx\nVersion: 9.9.9\n")
    result = run("import mlx.core", tmp_path)
    assert result.returncode != 0
    assert "ImportError: mlx-jit and mlx 9.9.9 are installed" in result.stderr


def test_importing_loads_no_compiler() -> None:
    heavy = "{'llvmlite', 'scipy', 'safetensors'} & {m.split('.')[0] for m in sys.modules}"
    result = run(f"import mlx.core, mlx.nn, mlx.optimizers; print({heavy})")
    assert result.stdout.strip() == "set()", result.stderr


def test_importing_loads_no_part_that_only_evaluating_needs() -> None:
    parts = "{m for m in sys.modules if m.startswith(('mlx.backend', 'mlx.compiler'))}"
    result = run(f"import mlx.core, mlx.nn, mlx.optimizers; print({parts})")
    assert result.stdout.strip() == "set()", result.stderr


def test_every_exported_name_exists() -> None:
    result = run("from mlx.core import *; import mlx.core as mx; print(mx.__version__)")
    assert result.returncode == 0 and result.stdout.strip(), result.stderr


SCIPYS_PARTS = """
import mlx.core as mx
x = mx.random.normal((3, 14), key=mx.random.key(1))
values = [mx.fft.irfft(mx.fft.rfft(x), 14), mx.fft.fft(x), mx.linalg.qr(x, stream=mx.cpu)[1]]
mx.eval(values)
print({m for m in sys.modules if m.startswith('scipy')})
import numpy as np, scipy.fft, scipy.linalg, scipy.linalg.cython_lapack
import scipy.fft._pocketfft.pypocketfft as extension
assert scipy.linalg.cython_lapack.__pyx_capi__ and extension.c2c
assert np.array_equal(scipy.fft.fft(np.array(x)), np.array(values[1]))
scipy.linalg.inv(np.eye(2))
from mlx.backend.llvm import addresses
from mlx.primitives import pocketfft
for owner, name in ((pocketfft, '_extension'), (addresses, '_library')):
    setattr(owner, name, lambda: None)
addresses.address_of.cache_clear(), addresses.thread_count.cache_clear()
assert addresses.address_of('sgetrf') and addresses.thread_count()
again = [mx.fft.irfft(mx.fft.rfft(x), 14), mx.fft.fft(x)]
assert all(mx.array_equal(a, b) for a, b in zip(again, values))
"""


def test_transforms_and_factorizations_import_no_package_of_scipy() -> None:
    result = run(SCIPYS_PARTS)
    assert result.stdout.strip() == "set()" and result.returncode == 0, result.stderr
