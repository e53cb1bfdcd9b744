"""The peers: which environment each runs in, how it is made, and how its processes start."""

import glob
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-peers"
OPENBLAS = (
    "/usr/lib/*-linux-gnu/libopenblas.so.0",
    "/usr/lib*/libopenblas.so.0",
)


@dataclass(frozen=True)
class Peer:
    """A framework in one manner of use. No `packages`: it runs in this very environment.

    `blas`: with OpenBLAS preloaded. `yardstick`: shown, but no peer that we want to be ahead of.
    """

    name: str
    module: str
    variant: str = "plain"
    environment: str = ""
    packages: tuple[str, ...] = ()
    ours: bool = False
    blas: bool = False
    imports: str = ""
    yardstick: bool = False


MLX, TORCH, JAX = "benchmarks.rows", "benchmarks.peers.torch_rows", "benchmarks.peers.jax_rows"
APPLE = {"environment": "mlx", "packages": ("mlx[cpu]", "numpy", "ml_dtypes")}
# This release has a build for the CPU alone; a range would take several GB of CUDA with it.
META = {"environment": "torch", "packages": ("torch==2.13.0", "numpy")}
GOOGLE = {"environment": "jax", "packages": ("jax", "numpy", "ml_dtypes")}
INTEL = {"environment": "mkl", "packages": ("mkl", "numpy")}
IMPORT_MLX = "import mlx.core, mlx.nn, mlx.optimizers"
IMPORT_TORCH = "import torch, torch.nn, torch.optim"

PEERS = (
    Peer("mlx-jit", MLX, ours=True, imports=IMPORT_MLX),
    Peer("mlx-jit compiled", MLX, "compiled", ours=True),
    Peer("numpy", "benchmarks.peers.numpy_rows", imports="import numpy"),
    Peer("mlx", MLX, **APPLE, imports=IMPORT_MLX),
    Peer("mlx compiled", MLX, "compiled", **APPLE),
    Peer("mlx+blas", MLX, **APPLE, blas=True),
    Peer("mlx+blas compiled", MLX, "compiled", **APPLE, blas=True),
    Peer("torch", TORCH, **META, imports=IMPORT_TORCH),
    Peer("torch compiled", TORCH, "compiled", **META),
    Peer("jax", JAX, "compiled", **GOOGLE, imports="import jax, jax.numpy"),
    Peer("mkl", "benchmarks.peers.mkl_rows", **INTEL, yardstick=True),
)


def choose(names: Sequence[str]) -> list[Peer]:
    """The peers of these names, a framework's name standing for all its variants."""
    if not names:
        return list(PEERS)
    known = {peer.name.split(" ")[0] for peer in PEERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no peer is called {unknown[0]}; known: {', '.join(sorted(known))}")
    return [peer for peer in PEERS if peer.name.split(" ")[0] in names]


def python_of(peer: Peer) -> str:
    if not peer.packages:
        return sys.executable
    return str(FOLDER / peer.environment / "bin" / "python")


def prepare(peer: Peer) -> str | None:
    """Make the peer's environment unless it is there; returns why that is impossible, or None."""
    if peer.blas and not openblas():
        return "no libopenblas.so.0 on this machine (Debian: libopenblas0-pthread)"
    stamp = FOLDER / peer.environment / ".installed"
    wanted = " ".join(peer.packages)
    if not wanted or (stamp.exists() and stamp.read_text() == wanted):
        return None
    print(f"making the environment of {peer.name}: {wanted}", file=sys.stderr, flush=True)
    venv.create(stamp.parent, with_pip=True, clear=True)
    command = [python_of(peer), "-m", "pip", "install", "--quiet", *peer.packages]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = [line for line in result.stderr.splitlines() if "ERROR" in line]
        return f"pip install {wanted} failed: {(reason or ['?'])[-1]}"
    stamp.write_text(wanted)
    return None


def openblas() -> str | None:
    found = [path for pattern in OPENBLAS for path in glob.glob(pattern)]
    return found[0] if found else None


def variables(peer: Peer, threads: int, cache: Path | None = None) -> dict[str, str]:
    """The environment variables of a peer's process: threads alike, caches where they are told."""
    result = dict(os.environ)
    for name in ("OMP", "OPENBLAS", "MKL", "MLX", "NUMEXPR"):
        result[f"{name}_NUM_THREADS"] = str(threads)
    result["JAX_PLATFORMS"] = "cpu"
    result["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src")] * peer.ours + [str(ROOT)])
    if peer.blas:
        result["LD_PRELOAD"] = openblas() or ""
    if cache is not None:
        for name in ("MLX_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR"):
            result[name] = str(cache)
        result["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return result


def pin(threads: int) -> None:
    """Confine this process and those it starts to so many processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
