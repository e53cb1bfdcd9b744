"""custom_function and checkpoint: functions with derivative rules of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from mlx.api.operands import check_callable, fresh, handles
from mlx.array import array, wrap
from mlx.base import tree
from mlx.graph.node import Node, ancestors
from mlx.graph.trace import Trace, placeholder
from mlx.primitives.base import picks, zeros_like
from mlx.primitives.custom import Barrier, Custom, Rules
from mlx.primitives.elementwise import cast
from mlx.transforms import derivatives
from mlx.transforms.replay import substitute


class custom_function:  # noqa: N801 (MLX's name)
    """A function whose derivatives, or batching, the user gives.

    ``fun`` takes and returns trees of arrays (and constants).  The rules are given by the
    decorators :meth:`vjp`, :meth:`jvp` and :meth:`vmap`; for those not given, the
    operations of ``fun`` have theirs.  A rule gets the arguments as ``primals``: the
    argument itself where there is one, else a tuple.  Derivatives are with respect to the
    arguments alone where a rule is given.

    >>> import mlx.core as mx
    >>> @mx.custom_function
    ... def clip(x):
    ...     return mx.clip(x, -1, 1)
    >>> @clip.vjp
    ... def clip_vjp(primal, cotangent, output):
    ...     return cotangent
    >>> mx.grad(clip)(mx.array(3.0)).item()
    1.0
    """

    def __init__(self, f: Callable[..., Any]) -> None:
        check_callable("custom_function", f)
        functools.update_wrapper(self, f, updated=())
        self._fun = f
        self._vjp: Callable[..., Any] | None = None
        self._jvp: Callable[..., Any] | None = None
        self._vmap: Callable[..., Any] | None = None

    def vjp(self, f: Callable[..., Any]) -> custom_function:
        """Give ``f(primals, cotangents, outputs)``, which returns the cotangents of the
        primals in their structure; what is no array counts as zero."""
        check_callable("custom_function.vjp", f)
        self._vjp = f
        return self

    def jvp(self, f: Callable[..., Any]) -> custom_function:
        """Give ``f(primals, tangents)``, which returns the tangents of the outputs in their
        structure; a tangent is None for a primal that isn't differentiated."""
        check_callable("custom_function.jvp", f)
        self._jvp = f
        return self

    def vmap(self, f: Callable[..., Any]) -> custom_function:
        """Give ``f(primals, axes)``, which returns the batched outputs and their axes; an
        axis is an integer, or None for a primal that isn't batched."""
        check_callable("custom_function.vmap", f)
        self._vmap = f
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._vjp is None and self._jvp is None and self._vmap is None:
            return self._fun(*args, **kwargs)
        if kwargs:
            names = list(kwargs)
            raise TypeError(
                f"[custom_function] Keyword arguments are not supported: pass {names} by position."
            )
        call = _Call(self._fun, args)
        rules = Rules(
            self._vjp and functools.partial(_user_vjp, self._vjp, call),
            self._jvp and functools.partial(_user_jvp, self._jvp, call),
            self._vmap and functools.partial(_user_vmap, self._vmap, call),
        )
        return call.finish(rules)


class _Call:
    """One call: how its arguments and its result are built from lists of nodes."""

    def __init__(self, fun: Callable[..., Any], args: tuple) -> None:
        self.primals = args[0] if len(args) == 1 else args
        self.inputs = [a._node for a in tree.leaves(args) if isinstance(a, array)]
        with Trace("custom_function") as trace:
            self.stands = [fresh(a) for a in tree.leaves(args) if isinstance(a, array)]
            self.result = fun(*self._refill(args, iter(handles(self.stands))))
            self.outputs = [a._node for a in tree.leaves(self.result) if isinstance(a, array)]
        self.start = trace.start

    def finish(self, rules: Rules) -> Any:
        """The result of the call, with the rules attached."""
        if not self.inputs or not self.outputs:
            return self.result
        custom = Custom(len(self.inputs), rules)
        made = picks(custom(*self.inputs, *self.outputs))
        result = self.like_result(made)
        self._forget()
        return result

    def _forget(self) -> None:
        """Keep the trees alone: nodes kept here would be computed for nobody."""
        self.primals = tree.map_leaves(_mark, self.primals)
        self.result = tree.map_leaves(_mark, self.result)
        self.inputs, self.outputs, self.stands = [], [], []

    def like_primals(self, nodes: Sequence[Node | None], other: Any = None) -> Any:
        return self._refill(self.primals, _wrapped(nodes, other))

    def like_result(self, nodes: Sequence[Node | None]) -> Any:
        return self._refill(self.result, _wrapped(nodes, None))

    def _refill(self, template: Any, values: Iterator[Any]) -> Any:
        found = tree.leaves(template)
        return tree.rebuild(
            template, iter([next(values) if isinstance(a, (array, _Mark)) else a for a in found])
        )


class _Mark:
    """Where an array was."""


_MARK = _Mark()


def _mark(leaf: Any) -> Any:
    return _MARK if isinstance(leaf, array) else leaf


def _wrapped(nodes: Sequence[Node | None], other: Any) -> Iterator[Any]:
    return (other if node is None else wrap(node) for node in nodes)


def _user_vjp(
    rule: Callable[..., Any],
    call: _Call,
    primals: Sequence[Node],
    cotangents: Sequence[Node | None],
    outputs: Sequence[Node],
) -> list[Node | None]:
    given = [zeros_like(o) if c is None else c for c, o in zip(cotangents, outputs, strict=True)]
    returned = rule(call.like_primals(primals), call.like_result(given), call.like_result(outputs))
    return _matched("vjp", returned, call.primals, primals)


def _user_jvp(
    rule: Callable[..., Any],
    call: _Call,
    primals: Sequence[Node],
    tangents: Sequence[Node | None],
) -> list[Node | None]:
    returned = rule(call.like_primals(primals), call.like_primals(tangents))
    return _matched("jvp", returned, call.result, None)


def _user_vmap(
    rule: Callable[..., Any], call: _Call, primals: Sequence[Node], axes: Sequence[int | None]
) -> tuple[list[Node], list[int | None]]:
    by_leaf = iter(axes)
    arranged = call._refill(call.primals, by_leaf)
    returned = rule(call.like_primals(primals), arranged)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(
            "[custom_function] The vmap rule must return a pair: the outputs, and their axes; "
            f"it returned {tree.outline(returned)}."
        )
    outputs, out_axes = returned
    marks = len([m for m in tree.leaves(call.result) if m is _MARK])
    nodes = [leaf._node for leaf in tree.leaves(outputs) if isinstance(leaf, array)]
    if len(nodes) != marks:
        raise ValueError(
            f"[custom_function] The vmap rule returned {len(nodes)} arrays for {marks} outputs."
        )
    return nodes, tree.spread(out_axes, outputs)


def _matched(
    name: str, returned: Any, template: Any, like: Sequence[Node] | None
) -> list[Node | None]:
    """One node or None for each array of the template, from what a rule returned: a leaf for
    each of its leaves, or for its arrays alone."""
    wants, found = tree.leaves(template), tree.leaves(returned)
    marked = [want for want in wants if want is _MARK]
    if len(found) == len(wants):
        found = [f for f, want in zip(found, wants, strict=True) if want is _MARK]
    elif len(found) != len(marked):
        raise ValueError(
            f"[custom_function] The {name} rule returned {tree.outline(returned)} where "
            f"{tree.outline(template)} was expected."
        )
    nodes = [f._node if isinstance(f, array) else None for f in found]
    return (
        nodes if like is None else [_fitting(name, n, x) for n, x in zip(nodes, like, strict=True)]
    )


def _fitting(name: str, node: Node | None, like: Node) -> Node | None:
    if node is None:
        return None
    if node.shape != like.shape:
        raise ValueError(
            f"[custom_function] The {name} rule returned an array of shape {node.shape} where "
            f"{like.shape} was expected."
        )
    return cast(node, like.dtype)


P = ParamSpec("P")
R = TypeVar("R")


def checkpoint(fun: Callable[P, R]) -> Callable[P, R]:
    """A function that recomputes its intermediate values in the backward pass.

    What ``fun`` computes on its way is not kept for the gradient but computed again from its
    inputs when the gradient reaches it: memory for time.  Arrays that ``fun`` captures count
    as inputs and get their gradients.

    Raises:
        TypeError: ``fun`` is no function.

    >>> import mlx.core as mx
    >>> block = mx.checkpoint(lambda x: (x * x) * x)
    >>> mx.grad(block)(mx.array(2.0)).item()
    12.0
    """
    check_callable("checkpoint", fun)

    @functools.wraps(fun, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        call = _Call(lambda a, k: fun(*a, **k), (args, kwargs))
        captured = _captured(call)
        stands = [*call.stands, *captured]
        call.inputs += captured
        marker = Trace("checkpoint")
        formal = [placeholder(marker, n.shape, n.dtype) for n in stands]
        mapping = dict(zip(stands, formal, strict=True))
        recorded = substitute(call.outputs, mapping, call.start)
        start = call.start

        def recompute(
            primals: Sequence[Node], cotangents: Sequence[Node | None], outputs: Sequence[Node]
        ) -> list[Node | None]:
            arriving = [c for c in cotangents if c is not None]
            with Trace("checkpoint") as trace:
                again = picks(Barrier(len(primals))(*primals, *arriving))
                made = substitute(recorded, dict(zip(formal, again, strict=True)), start)
                return derivatives.vjp(made, again, cotangents, trace.start)

        return call.finish(Rules(vjp=recompute))

    return checkpointed


def _captured(call: _Call) -> list[Node]:
    """Older arrays that the outputs depend on, other than the arguments."""
    known = set(call.stands)
    found: dict[Node, None] = {}
    for node in ancestors(call.outputs, call.start):
        if node not in known:
            found.update((s, None) for s in node.inputs if s.serial <= call.start)
    return list(found)
