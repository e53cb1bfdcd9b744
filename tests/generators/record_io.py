"""Writes the files of ``tests/io/recorded`` with MLX itself (run where MLX is installed).

Run: python tests/generators/record_io.py
"""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

FOLDER = Path(__file__).parents[1] / "io" / "recorded"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    rows = mx.arange(6).reshape(2, 3)
    arrays = {
        "int": rows,
        "half": rows.astype(mx.bfloat16) / 4,
        "turned": rows.astype(mx.float32).T,
        "flag": rows > 2,
        "scalar": mx.array(2.5),
    }
    for name, value in arrays.items():
        mx.save(str(FOLDER / name), value)
    mx.savez(str(FOLDER / "several"), rows, **arrays)
    mx.savez_compressed(str(FOLDER / "compressed"), **arrays)
    mx.save_safetensors(str(FOLDER / "model"), arrays, {"step": "3"})
    numbers = {"int": rows, "turned": arrays["turned"], "scalar": arrays["scalar"]}
    metadata = {"name": "model", "words": ["a", "b"], "step": mx.array(3), "row": mx.arange(2.0)}
    mx.save_gguf(str(FOLDER / "model"), numbers, metadata)


if __name__ == "__main__":
    main()
