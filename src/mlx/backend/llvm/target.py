"""The machine that code is generated for: triple, features, vector width."""

from __future__ import annotations

import os
from functools import cache

from mlx.backend.llvm import arm
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.permission import TILE_FEATURES, tiles_permitted

_LEVELS = {
    "avx2": "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe,+sse4.2,+cx16",
    "baseline": "",
}


class Target:
    """Triple, features and what follows from them.

    ``features`` is LLVM's own list for this CPU, which (unlike its name for the CPU) can be
    trusted in virtual machines.  ``MLX_ISA=avx2`` generates for less than the machine has.
    """

    def __init__(self, features: str, triple: str, cpu: str = "") -> None:
        self.features = features
        self.triple = triple
        self.cpu = cpu
        self.enabled = {f[1:] for f in features.split(",") if f.startswith("+")}

    def has(self, feature: str) -> bool:
        return feature in self.enabled

    @property
    def avx512(self) -> bool:
        return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= self.enabled

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register."""
        if self.avx512:
            return 64
        return 32 if self.has("avx2") else 16

    @property
    def lanes(self) -> int:
        """32-bit lanes of a vector register: the width at which loops are emitted."""
        return self.vector_bytes // 4

    @property
    def has_fma(self) -> bool:
        return self.has("fma") or self.has("neon") or self.has("avx512f")

    @property
    def converts_half(self) -> bool:
        """Whether there are instructions from float16 to float32 and back."""
        return not self.triple.startswith(("x86", "i")) or self.has("f16c") or self.avx512

    def attributes(self) -> str:
        """Function attributes that make LLVM use this target in full."""
        text = f'"prefer-vector-width"="{self.vector_bytes * 8}" "min-legal-vector-width"="512"'
        if self.features:  # LLVM takes the dot product of pairs apart unless told otherwise
            whole = ",+fast-dpwssd" if self.has("avx512vnni") or self.has("avxvnni") else ""
            text += f' "target-features"="{self.features}{whole}"'
        return text


def host_features() -> str:
    features = dict(binding().get_host_cpu_features())
    if binding().get_process_triple().startswith(("aarch64", "arm64")):
        features = arm.features() | features
    if features.get("amx-tile") and not tiles_permitted():
        features |= dict.fromkeys(TILE_FEATURES, False)
    return ",".join(("+" if on else "-") + name for name, on in sorted(features.items()))


@cache
def host() -> Target:
    """The machine this process runs on, less what ``MLX_ISA`` takes away."""
    llvm = binding()
    isa = os.environ.get("MLX_ISA", "")
    if isa and isa not in _LEVELS:
        raise ValueError(f"[MLX_ISA] unknown level {isa!r}; choose from {sorted(_LEVELS)}.")
    features = _LEVELS[isa] if isa else host_features()
    return Target(features, llvm.get_process_triple())
