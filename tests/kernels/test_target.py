"""What is found out about the machine."""

from __future__ import annotations

import platform
from types import SimpleNamespace

import pytest

from mlx.backend.llvm import target


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin24.0.0"])
def test_vectors_of_arm_need_not_be_listed(triple: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM lists nothing where it finds no text about the processor."""
    llvm = SimpleNamespace(
        get_host_cpu_features=lambda: {"sve": False}, get_process_triple=lambda: triple
    )
    monkeypatch.setattr(target, "binding", lambda: llvm)
    found = target.Target(target.host_features(), triple)
    assert found.has("neon") and found.has("fp-armv8") and not found.has("sve")
    assert found.has_fma and found.vector_bytes == 16


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of this kind of processor")
def test_nothing_of_arm_is_listed_here() -> None:
    assert not target.host().has("neon")
