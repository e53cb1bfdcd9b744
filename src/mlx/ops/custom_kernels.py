"""Kernels in the languages of GPUs, which no device here can run.

Programs define them where they are imported and call them where the device is a GPU; so a
definition is checked and kept, and only the call fails.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn


class MetalKernel:
    """A kernel in the Metal shading language, made by :func:`metal_kernel`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self,
        *,
        inputs: Sequence[Any],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[Any],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Sequence[tuple[str, Any]] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream: Any = None,
    ) -> NoReturn:
        """Raises RuntimeError: there is no Metal device to run it."""
        raise RuntimeError(
            f"[metal_kernel] No Metal device to run {self.name!r} on; "
            "ask mx.metal.is_available() first and compute with array operations otherwise."
        )

    def __repr__(self) -> str:
        return f"MetalKernel({self.name!r})"


def _check_names(what: str, names: Any) -> None:
    if isinstance(names, str) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"[metal_kernel] {what} must be a sequence of names, got {names!r}.")


def metal_kernel(
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
    ensure_row_contiguous: bool = True,
    atomic_outputs: bool = False,
    compile_options: Any = None,
) -> MetalKernel:
    """A kernel whose body is ``source``; calling it raises RuntimeError without a Metal device.

    >>> mx.fast.metal_kernel("copy", ["x"], ["y"], "y[0] = x[0];")
    MetalKernel('copy')
    """
    _check_names("input_names", input_names)
    _check_names("output_names", output_names)
    for what, text in (("name", name), ("source", source), ("header", header)):
        if not isinstance(text, str):
            raise TypeError(f"[metal_kernel] {what} must be a string, got {text!r}.")
    if not output_names:
        raise ValueError("[metal_kernel] Must specify at least one output.")
    return MetalKernel(name)


def cuda_kernel(
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
    ensure_row_contiguous: bool = True,
    shared_memory: int = 0,
) -> NoReturn:
    """Raises RuntimeError: there is no CUDA device for the kernel."""
    raise RuntimeError(f"[cuda_kernel] No CUDA device to run {name!r} on.")


def precompiled_cuda_kernel(*, name: str, **arguments: Any) -> NoReturn:
    """Raises RuntimeError: there is no CUDA device for the kernel."""
    raise RuntimeError(f"[precompiled_cuda_kernel] No CUDA device to run {name!r} on.")
