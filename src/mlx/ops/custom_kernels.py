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


def _check(function: str, texts: dict[str, Any], names: dict[str, Any]) -> None:
    """Raise TypeError for what is no text, or no sequence of texts."""
    for what, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"[{function}] {what} must be a string, got {text!r}.")
    for what, given in names.items():
        several = isinstance(given, Sequence) and not isinstance(given, str)
        if not several or not all(isinstance(name, str) for name in given):
            raise TypeError(f"[{function}] {what} must be a sequence of names, got {given!r}.")


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
    texts = {"name": name, "source": source, "header": header}
    _check("metal_kernel", texts, {"input_names": input_names, "output_names": output_names})
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
    texts = {"name": name, "source": source, "header": header}
    _check("cuda_kernel", texts, {"input_names": input_names, "output_names": output_names})
    raise RuntimeError(f"[cuda_kernel] No CUDA device to run {name!r} on.")


def precompiled_cuda_kernel(*, name: str, **arguments: Any) -> NoReturn:
    """Raises RuntimeError: there is no CUDA device for the kernel."""
    _check("precompiled_cuda_kernel", {"name": name}, {})
    raise RuntimeError(f"[precompiled_cuda_kernel] No CUDA device to run {name!r} on.")
