"""explain: which kernels a function runs, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.api.evaluation import eval as evaluate_tree
from mlx.api.operands import check_callable
from mlx.runtime import profile
from mlx.runtime.profile import Explanation


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Run a function, evaluate what it returns, and tell which kernels that took.

    The function runs twice, so that compiling is not counted.

    Args:
        fn: returns arrays or trees of arrays.

    Returns:
        An object that prints as a table: for each kernel its time, bytes, and rates; its
        ``kernels`` hold the numbers.

    >>> import mlx.core as mx
    >>> x = mx.ones((4, 4))
    >>> len(mx.explain(lambda x: mx.exp(x) + 1, x).kernels)
    1
    """
    check_callable("explain", fn)
    evaluate_tree((args, kwargs))
    evaluate_tree(fn(*args, **kwargs))
    with profile.recording() as found:
        evaluate_tree(fn(*args, **kwargs))
    return found
