"""How much has been compiled so far, where the framework says so."""

import importlib


def kernels_compiled() -> int:
    """Kernel libraries made or loaded from disk, so that a warm disk cache hides nothing.

    Raises LookupError in a framework that doesn't count them.
    """
    try:
        jit = importlib.import_module("mlx.backend.llvm.jit")
    except ModuleNotFoundError as error:
        raise LookupError("this MLX has no counter of compiled kernels") from error
    return jit.counters["compiled"] + jit.counters["loaded"]
