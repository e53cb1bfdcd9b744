"""Optimizer (state and update of a tree of parameters), MultiOptimizer, gradient clipping."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx.nn import Module
from mlx.optimizers._trees import Part, check_gradients, gather, overlay, rebuilt
from mlx.utils import tree_flatten, tree_map, tree_merge, tree_reduce, tree_unflatten

Schedule = Callable[[mx.array], mx.array]


def _compute(tree: Any) -> None:
    """Compute what a first step starts from, so that later steps need no other kernels.

    What has no value, in a function that is being transformed, stays as it is.
    """
    with contextlib.suppress(ValueError):
        mx.eval(tree)


_ARRAYS = frozenset({mx.array})
_PLAIN = frozenset({bool, int, float, str, type(None)})
_OWN = frozenset({"_initialized", "_state", "_schedulers", "_shared"})


class Optimizer:
    """Base class of optimizers. A subclass defines `init_single` and `apply_single`.

    `state` is a tree of arrays: "step", "learning_rate" and, in the structure of the parameters,
    a dictionary of arrays for each parameter. `schedulers` maps names of state entries to
    functions of the step that set them before each update.

    A subclass may say ``by_types = True`` (for itself, not for subclasses): then `apply_single`
    must depend on nothing but its arguments, `state` and attributes that are constants, and a whole
    update is recorded once for the types of its arrays (see `mx.record_once`).

    >>> import mlx.core as mx, mlx.optimizers as optim
    >>> opt = optim.SGD(learning_rate=0.5)
    >>> opt.apply_gradients({"w": mx.array(1.0)}, {"w": mx.array(2.0)})["w"].item()
    1.5
    """

    def __init__(self, schedulers: dict[str, Schedule] | None = None) -> None:
        self._initialized = False
        self._state: dict[str, Any] = {"step": mx.array(0, mx.uint64)}
        self._schedulers = dict(schedulers or {})
        self._shared: dict[Hashable, mx.array] | None = None

    def update(self, model: Module | dict[str, Any], gradients: dict[str, Any]) -> Any:
        """Apply the gradients to a model in place, or to a tree of parameters.

        For a tree the new tree is returned; parameters without a gradient are kept in it.

        >>> opt = optim.SGD(learning_rate=0.5)
        >>> params = opt.update({"w": mx.array(2.0)}, {"w": mx.array(1.0)})
        >>> params["w"].item()
        1.5
        """
        updated = self.apply_gradients(gradients, model)
        if isinstance(model, Module):
            model.update(updated)
            return None
        return overlay(model, updated)

    def init(self, parameters: dict[str, Any]) -> None:
        """Create the state for `parameters`; state that is already there is kept.

        >>> opt = optim.Adam(1e-3)
        >>> opt.init({"w": mx.zeros((2,))})
        >>> sorted(opt.state["w"])
        ['m', 'v']
        """
        self._init(parameters)

    def _init(self, parameters: dict[str, Any]) -> bool:
        """Create what state is missing; return whether any was."""
        made: list[dict[str, Any]] = []
        for key, child in parameters.items():
            self._state[key] = self._extend(child, self._state.get(key), made)
        self._initialized = True
        _compute(made)
        return bool(made)

    def _extend(self, parameters: Any, state: Any, made: list[dict[str, Any]]) -> Any:
        """Return `state` with what is missing for `parameters`, which is listed in `made`."""
        if isinstance(parameters, dict):
            state = {} if state is None else state
            for key, child in parameters.items():
                state[key] = self._extend(child, state.get(key), made)
            return state
        if isinstance(parameters, (list, tuple)):
            old = list(state) if state is not None else []
            old += [None] * (len(parameters) - len(old))
            new = [self._extend(p, s, made) for p, s in zip(parameters, old, strict=False)]
            return type(parameters)(new + old[len(new) :])
        if isinstance(parameters, mx.array) and not state:
            state = {}
            self.init_single(parameters, state)
            made.append(state)
        return {} if state is None else state

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        """Fill the dictionary `state` of one parameter."""
        raise NotImplementedError(f"{type(self).__name__} does not define init_single")

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> Any:
        """Return the updated parameters, in the structure of `gradients`.

        `parameters` may be a superset of `gradients`, or a Module.

        Raises KeyError, IndexError or TypeError, before anything changes, for a gradient without
        a parameter.

        >>> opt = optim.SGD(learning_rate=0.5)
        >>> params = {"a": mx.array(2.0), "b": mx.array(3.0)}
        >>> list(opt.apply_gradients({"a": mx.array(1.0)}, params))
        ['a']
        """
        settings = self._settings()
        parts: list[Part] = []
        is_usual = settings is not None and gather(gradients, parameters, self.state, parts)
        if not is_usual:
            check_gradients(gradients, parameters)
            if self._init(gradients):
                # no other parameter: a running mean would keep all that this step's pass computes
                _compute(tree_map(lambda _, parameter: parameter, gradients, parameters))
        for name, schedule in self._schedulers.items():
            self.state[name] = schedule(self.step)
        self.state["step"] = self.step + 1
        if is_usual:
            updated = self._updated_together(settings, parts)
            if updated is not None:
                return rebuilt(gradients, iter(updated))
        self._shared = {}
        try:
            return tree_map(self.apply_single, gradients, parameters, self.state)
        finally:
            self._shared = None

    def _updated_together(self, settings: str | None, parts: list[Part]) -> list[mx.array] | None:
        """All updated parameters, recorded as a whole; None where that isn't possible."""
        shared = {name: one for name, one in self.state.items() if type(one) is mx.array}
        arrays = list(shared.values())
        for gradient, parameter, state in parts:
            arrays += (gradient, parameter, *state.values())
        if not _ARRAYS.issuperset(map(type, arrays)):
            return None
        names = tuple([tuple(state) for _, _, state in parts])

        def make(arrays: Sequence[mx.array]) -> list[mx.array]:
            return self._recorded(list(shared), names, iter(arrays))

        made = iter(mx.record_once((type(self), settings, *shared, *names), arrays, make))
        updated = []
        for _, _, state in parts:
            updated.append(next(made))
            for name in state:
                state[name] = next(made)
        return updated

    def _recorded(
        self, shared: Sequence[str], names: Sequence[Sequence[str]], arrays: Iterator[mx.array]
    ) -> list[mx.array]:
        """The updated parameter and state of each parameter, from gradient, parameter and state."""
        before = self._state
        self._state = before | dict(zip(shared, arrays))  # noqa: B905 (there are more)
        self._shared = {}
        found = []
        try:
            for own in names:
                gradient, parameter = next(arrays), next(arrays)
                state = dict(zip(own, arrays))  # noqa: B905
                found.append(self.apply_single(gradient, parameter, state))
                found += [state[name] for name in own]
        finally:
            self._state, self._shared = before, None
        return found

    def _settings(self) -> str | None:
        """All that an update depends on but for arrays; None where it may be something else."""
        if not vars(type(self)).get("by_types", False):
            return None
        told = {name: one for name, one in vars(self).items() if name not in _OWN}
        for value in told.values():
            if type(value) in (list, tuple):
                if not _PLAIN.issuperset(map(type, value)):
                    return None
            elif type(value) not in _PLAIN:
                return None
        return repr(told)

    def _once(self, key: Hashable, make: Callable[[], mx.array]) -> mx.array:
        """What `make` returns, made once for all parameters of an update."""
        if self._shared is None:  # apply_single alone
            return make()
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]) -> Any:
        """Return one updated parameter and update its `state`."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply_single")

    @property
    def state(self) -> dict[str, Any]:
        """The state: a tree of arrays."""
        return self._state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._initialized = False
        self._state = state

    @property
    def step(self) -> mx.array:
        """The number of updates so far."""
        return self.state["step"]

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate of the last update (an array); may be set to a number."""
        return self.state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        self.state["learning_rate"] = mx.array(learning_rate)

    def _maybe_schedule(self, name: str, param: float | Schedule) -> None:
        """Put a constant, or the value at the current step of a schedule, into the state."""
        if callable(param):
            self._schedulers[name] = param
            self.state[name] = mx.array(param(self.step))
        else:
            self.state[name] = mx.array(param)


class MultiOptimizer(Optimizer):
    """Several optimizers, each for the parameters that its filter selects.

    `filters` are functions of the path and the gradient, one for each optimizer but the last,
    which takes what remains. A parameter belongs to the first filter that is true for it.

    Raises ValueError for another number of filters.

    >>> opt = optim.MultiOptimizer([optim.Adam(1e-3), optim.SGD(0.5)], [lambda p, g: g.ndim > 1])
    >>> new = opt.apply_gradients({"b": mx.array([1.0])}, {"b": mx.array([2.0])})
    >>> new["b"].item()
    1.5
    """

    def __init__(self, optimizers: Sequence[Optimizer], filters: Sequence[Callable] = ()) -> None:
        super().__init__()
        self._state = {}
        if len(filters) != len(optimizers) - 1:
            raise ValueError(f"Given {len(filters)} filters but {len(optimizers) - 1} needed.")
        self.optimizers = list(optimizers)
        self.filters = [*filters, lambda *_: True]

    def _split(self, tree: dict[str, Any]) -> list[dict[str, Any]]:
        if len(self.optimizers) == 1:
            return [tree]
        parts: list[list[tuple[str, Any]]] = [[] for _ in self.optimizers]
        for path, leaf in tree_flatten(tree):
            chosen = next(i for i, select in enumerate(self.filters) if select(path, leaf))
            parts[chosen].append((path, leaf))
        return [tree_unflatten(part) if part else {} for part in parts]

    def init(self, parameters: dict[str, Any]) -> None:
        """Create the state of each optimizer for its parameters."""
        for optimizer, part in zip(self.optimizers, self._split(parameters), strict=True):
            optimizer.init(part)
        self._initialized = True

    def apply_gradients(self, gradients: dict[str, Any], parameters: dict[str, Any]) -> Any:
        """Return the updated parameters, in the structure of `gradients`."""
        check_gradients(gradients, parameters)
        updated: Any = {}
        for optimizer, part in zip(self.optimizers, self._split(gradients), strict=True):
            updated = tree_merge(updated, optimizer.apply_gradients(part, parameters))
        return updated

    @property
    def state(self) -> dict[str, Any]:
        """The states of all optimizers under the key "states"."""
        return {"states": [optimizer.state for optimizer in self.optimizers]}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if "states" not in state or len(state["states"]) != len(self.optimizers):
            raise ValueError(
                f"Invalid state: expected the key 'states' with {len(self.optimizers)} states."
            )
        for optimizer, part in zip(self.optimizers, state["states"], strict=True):
            optimizer.state = part

    @property
    def step(self) -> mx.array:
        """The number of updates so far."""
        return self.optimizers[0].step

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate of the first optimizer; setting it sets that of all."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale all gradients down so that their common norm is at most `max_norm`.

    Returns the gradients and the norm before scaling.

    >>> grads, norm = optim.clip_grad_norm({"w": mx.array([3.0, 4.0])}, max_norm=1.0)
    >>> norm.item()
    5.0
    """

    def add(total: mx.array, g: mx.array) -> mx.array:
        if not isinstance(g, mx.array):
            raise TypeError(f"[clip_grad_norm] Expected arrays, got {type(g).__name__}.")
        return total + g.astype(mx.float32).square().sum()

    total_norm = mx.sqrt(tree_reduce(add, grads, mx.array(0.0)))
    scale = mx.minimum(max_norm / (total_norm + 1e-6), 1.0)
    return tree_map(lambda g: (g * scale).astype(g.dtype), grads), total_norm
