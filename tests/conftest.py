"""What every test shares: kernels kept inside the checkout, plots without a screen."""

import os
from pathlib import Path

os.environ.setdefault("MLX_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "kernels"))
os.environ.setdefault("MPLBACKEND", "Agg")
