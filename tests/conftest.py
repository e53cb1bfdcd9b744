"""What every test shares: kernels kept inside the checkout, plots without a screen."""

import os
from pathlib import Path

os.environ.setdefault("MLX_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "kernels"))
os.environ.setdefault("MPLBACKEND", "Agg")

from mlx.backend.llvm import stored  # noqa: E402 (the folder is looked up on first use)

stored.LEAST = 1 << 60
"""Tests change how regions are planned; tests/programs/test_stored.py looks at kept programs."""
