"""What is installed: our version, and whether Apple's ``mlx`` is in the way."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The version of this distribution; 0.0.0 where it runs from a bare source tree."""
    try:
        return metadata.version("mlx-jit")
    except metadata.PackageNotFoundError:
        return "0.0.0"


def refuse_apples_mlx() -> None:
    """Raise ImportError where the distribution ``mlx`` shares this environment.

    Both put their files into the package ``mlx``, so that each breaks the other.
    """
    try:
        theirs = metadata.version("mlx")
    except metadata.PackageNotFoundError:
        return
    raise ImportError(
        f"mlx-jit and mlx {theirs} are installed in the same environment, and both are imported "
        "as mlx. Keep them in environments of their own: pip uninstall mlx mlx-jit, then "
        "pip install mlx-jit."
    )
