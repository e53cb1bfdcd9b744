"""Record what MLX computes for the cases: run with MLX itself as `mlx`, from the root.

python -m tests.generators.record_convolution
"""

from pathlib import Path

from tests.generators.convolution_cases import CASES, results
from tests.generators.deterministic import flat, save

FILE = Path(__file__).parents[1] / "convolution" / "recorded.npz"


if __name__ == "__main__":
    out = {}
    for name in CASES:
        try:
            out |= flat(name, results(name))
        except Exception as error:
            print(f"{name}: {error}")
    save(FILE, out)
