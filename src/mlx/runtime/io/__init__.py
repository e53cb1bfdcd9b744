"""Files of arrays: .npy and .npz, safetensors, GGUF.  Nothing is ever unpickled.

Readers give ``Stored`` values in memory of the pool; writers take NumPy arrays.
"""

from mlx.runtime.io.gguf import read_gguf, write_gguf
from mlx.runtime.io.npy import read_npy, read_npz, write_npy, write_npz
from mlx.runtime.io.safetensors import read_safetensors, write_safetensors
from mlx.runtime.io.streams import Stored, reading, writing

__all__ = [
    "Stored",
    "read_gguf",
    "read_npy",
    "read_npz",
    "read_safetensors",
    "reading",
    "write_gguf",
    "write_npy",
    "write_npz",
    "write_safetensors",
    "writing",
]
