"""mx.distributed for one process: a group of one, in which collectives change nothing.

There is no backend that joins several processes yet.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from mlx.array import array, wrap
from mlx.base.dtype import Dtype
from mlx.ops.operands import node_of

BACKENDS = ("any", "mpi", "nccl", "jaccl", "ring")


class Group:
    """The processes that communicate, made by :func:`init`."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("[distributed] Groups are made by mx.distributed.init().")

    def rank(self) -> int:
        """The number of this process, 0."""
        return 0

    def size(self) -> int:
        """The number of processes, 1."""
        return 1

    def split(self, color: int, key: int = -1) -> NoReturn:
        """Raises RuntimeError: a group of one has no parts."""
        raise RuntimeError("[distributed] Cannot split a group of one process further.")


_world = object.__new__(Group)


def is_available(backend: str = "any") -> bool:
    """Whether ``backend`` can join several processes: none can yet.

    >>> mx.distributed.is_available()
    False
    """
    return False


def init(strict: bool = False, backend: str = "any", *, all_gather_factory: Any = None) -> Group:
    """The group of all processes, which is this one alone.

    Raises RuntimeError where ``strict`` asks for a backend, and ValueError for one of another
    name.

    >>> mx.distributed.init().size()
    1
    """
    if backend not in BACKENDS:
        raise ValueError(
            f"[distributed] The only valid values for backend are {', '.join(BACKENDS)}, but "
            f"{backend!r} was provided."
        )
    if strict:
        raise RuntimeError(
            f"[distributed] Couldn't initialize the backend {backend!r}: this build runs in one "
            "process; use strict=False."
        )
    return _world


def _alone(name: str, x: Any, group: Group | None) -> array:
    """What a collective gives in a group of one: its argument."""
    _check(name, group)
    return wrap(node_of(name, x))


def _check(name: str, group: Any) -> None:
    if group is not None and not isinstance(group, Group):
        raise TypeError(f"[{name}] group must be a Group or None, got {type(group).__name__}.")


def all_sum(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The sum of x over all processes.

    >>> mx.distributed.all_sum(mx.array([1.0, 2.0]))
    array([1, 2], dtype=float32)
    """
    return _alone("all_sum", x, group)


def all_max(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The largest of x over all processes, element by element."""
    return _alone("all_max", x, group)


def all_min(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """The smallest of x over all processes, element by element."""
    return _alone("all_min", x, group)


def all_gather(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """x of all processes, concatenated along the first axis."""
    return _alone("all_gather", x, group)


def sum_scatter(x: array, *, group: Group | None = None, stream: Any = None) -> array:
    """This process's part along the first axis of the sum of x over all processes."""
    return _alone("sum_scatter", x, group)


def send(x: array, dst: int, *, group: Group | None = None, stream: Any = None) -> array:
    """Raises ValueError: nobody is there to receive."""
    _check("send", group)
    raise ValueError(f"[send] Cannot send to process {dst} from a singleton group.")


def recv(
    shape: Sequence[int],
    dtype: Dtype,
    src: int,
    *,
    group: Group | None = None,
    stream: Any = None,
) -> array:
    """Raises ValueError: nobody is there to send."""
    _check("recv", group)
    raise ValueError(f"[recv] Cannot recv from process {src} in a singleton group.")


def recv_like(x: array, src: int, *, group: Group | None = None, stream: Any = None) -> array:
    """Raises ValueError: nobody is there to send."""
    like = node_of("recv_like", x)
    return recv(like.shape, like.dtype, src, group=group)
