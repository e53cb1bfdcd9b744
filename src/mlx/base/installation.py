"""What is installed: our version, and whether Apple's ``mlx`` is in the way.

Reads the names of the folders ``{name}-{version}.dist-info`` that installers leave;
``importlib.metadata`` would parse them too, but takes longer to import than all else here.
"""

from __future__ import annotations

import os
import sys

_SUFFIX = ".dist-info"


def _installed(distribution: str) -> str | None:
    """The version of a distribution (its name in lower case, with underscores)."""
    prefix = f"{distribution}-"
    for folder in sys.path:
        try:
            names = os.listdir(folder or os.curdir)
        except OSError:  # a zip file, or nothing at all
            continue
        for name in names:
            if name.endswith(_SUFFIX) and name.lower().startswith(prefix):
                return name[len(prefix) : -len(_SUFFIX)]
    return None


def version() -> str:
    """The version of this distribution; 0.0.0 where it runs from a bare source tree."""
    return _installed("mlx_jit") or "0.0.0"


def refuse_apples_mlx() -> None:
    """Raise ImportError where the distribution ``mlx`` shares this environment.

    Both put their files into the package ``mlx``, so that each breaks the other.
    """
    theirs = _installed("mlx")
    if theirs is None:
        return
    raise ImportError(
        f"mlx-jit and mlx {theirs} are installed in the same environment, and both are imported "
        "as mlx. Keep them in environments of their own: pip uninstall mlx mlx-jit, then "
        "pip install mlx-jit."
    )
