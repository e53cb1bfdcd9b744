"""Einstein summation: a path of pairwise contractions, each one matrix product.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.array import array, wrap
from mlx.base.dtype import promote
from mlx.base.frozen import dataclass
from mlx.graph.chains import by_types_of_all
from mlx.graph.node import Node
from mlx.ops.operands import array_node
from mlx.ops.shape import diagonal
from mlx.primitives.contraction import MatMul
from mlx.primitives.elementwise import Multiply, cast
from mlx.primitives.reductions import Sum, broadcast_axes, reduce_axes
from mlx.primitives.views import reshape, transpose

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Term:
    """An operand with one letter an axis."""

    letters: str
    node: Node


@dataclass(frozen=True)
class Equation:
    """The letters of every input and of the output, the ellipsis written out."""

    inputs: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{','.join(self.inputs)}->{self.output}"


def einsum(subscripts: str, *operands: array, stream: Any = None) -> array:
    """Sum of products over the letters that the output lacks.

    Without ``->`` the output has the letters that occur once, sorted.  ``...`` stands for
    any further axes, which broadcast.  Raises ValueError where letters and shapes disagree.

    >>> mx.einsum("ij,jk->ik", mx.ones((2, 3)), mx.ones((3, 4))).shape
    (2, 4)
    """
    nodes = [array_node("einsum", x) for x in operands]
    if not nodes or not isinstance(subscripts, str):
        _parse(subscripts, [])
    return wrap(_summed_product(nodes, subscripts))


@by_types_of_all
def _summed_product(nodes: Sequence[Node], subscripts: str) -> Node:
    equation = _parse(subscripts, [x.shape for x in nodes])
    sizes = _sizes(equation, [x.shape for x in nodes])
    dtype = nodes[0].dtype
    for x in nodes:
        dtype = promote(dtype, x.dtype)
    terms = [
        _without_repeats(Term(s, cast(x, dtype)))
        for s, x in zip(equation.inputs, nodes, strict=True)
    ]
    for pair in _path(equation, sizes):
        chosen = [terms.pop(i) for i in sorted(pair, reverse=True)][::-1]
        kept = set(equation.output).union(*(t.letters for t in terms))
        terms.append(_contract(chosen[0], chosen[1], kept) if len(chosen) == 2 else chosen[0])
    return _finished(terms[0], equation.output, sizes)


def einsum_path(subscripts: str, *operands: array) -> tuple[list[tuple[int, ...]], str]:
    """The order of contractions that einsum takes, and its cost as text.

    >>> mx.einsum_path("ij,jk,kl->il", mx.ones((9, 9)), mx.ones((9, 2)), mx.ones((2, 9)))[0]
    [(0, 1), (0, 1)]
    """
    shapes = [array_node("einsum_path", x).shape for x in operands]
    equation = _parse(subscripts, shapes)
    sizes = _sizes(equation, shapes)
    path = _path(equation, sizes)
    naive = prod(sizes.values()) * max(len(shapes), 1)
    best, scaling = _cost(equation, sizes, path)
    text = (
        f"  Complete contraction:  {subscripts}\n"
        f"         Naive scaling:  {len(sizes)}\n"
        f"     Optimized scaling:  {scaling}\n"
        f"      Naive FLOP count:  {naive}\n"
        f"  Optimized FLOP count:  {best}\n"
    )
    return path, text


def _parse(subscripts: str, shapes: Sequence[Any]) -> Equation:
    if not isinstance(subscripts, str):
        raise TypeError(f"[einsum] Subscripts must be a str, got {type(subscripts).__name__}.")
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(shapes):
        raise ValueError(
            f"[einsum] {subscripts!r} names {len(parts)} operands, but {len(shapes)} were given."
        )
    strange = set(text.replace("->", "").replace(",", "").replace("...", "")) - set(_LETTERS)
    if strange:
        raise ValueError(f"[einsum] Unexpected {sorted(strange)} in {subscripts!r}.")
    spare = [c for c in _LETTERS if c not in text]
    wide = [_extra(p, s, i) for i, (p, s) in enumerate(zip(parts, shapes, strict=True))]
    dots = "".join(spare[: max(wide, default=0)])
    inputs = tuple(
        p.replace("...", dots[len(dots) - n :]) for p, n in zip(parts, wide, strict=True)
    )
    if arrow:
        output = right.replace("...", dots)
    else:
        letters = [c for c in sorted(set("".join(inputs)) - set(dots))]
        output = dots + "".join(c for c in letters if sum(p.count(c) for p in parts) == 1)
    _check_output(output, inputs, subscripts)
    return Equation(inputs, output)


def _extra(part: str, shape: Any, position: int) -> int:
    """How many axes an ellipsis stands for."""
    named = len(part.replace("...", ""))
    if "..." in part and named <= len(shape):
        return len(shape) - named
    if named != len(shape):
        raise ValueError(f"[einsum] Input {position} has subscripts {part!r} but shape {shape}.")
    return 0


def _check_output(output: str, inputs: tuple[str, ...], subscripts: str) -> None:
    if len(set(output)) != len(output):
        raise ValueError(f"[einsum] A letter is repeated in the output of {subscripts!r}.")
    missing = set(output) - set("".join(inputs))
    if missing:
        raise ValueError(
            f"[einsum] The output of {subscripts!r} has {sorted(missing)}, which no input has."
        )


def _sizes(equation: Equation, shapes: Sequence[Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.inputs, shapes, strict=True):
        for c, n in zip(letters, shape, strict=True):
            known = sizes.setdefault(c, n)
            if known == 1:
                sizes[c] = n
            elif n not in (1, known):
                raise ValueError(
                    f"[einsum] Sizes {known} and {n} of the same letter differ in "
                    f"{equation} with shapes {list(shapes)}."
                )
    return sizes


def _path(equation: Equation, sizes: dict[str, int]) -> list[tuple[int, ...]]:
    """Greedy: contract the pair whose result shrinks most; ties go to the cheaper one."""
    remaining = list(equation.inputs)
    path: list[tuple[int, ...]] = []
    while len(remaining) > 2:
        pairs = [(i, j) for j in range(len(remaining)) for i in range(j)]
        best = min(pairs, key=lambda p: _rank(remaining, p, equation.output, sizes))
        path.append(best)
        merged = _merged(remaining, best, equation.output)
        remaining = [s for i, s in enumerate(remaining) if i not in best] + [merged]
    path.append(tuple(range(len(remaining))))
    return path


def _merged(terms: Sequence[str], pair: tuple[int, ...], output: str) -> str:
    """The letters that are still needed after a contraction."""
    rest = set(output).union(*(s for i, s in enumerate(terms) if i not in pair))
    return "".join(dict.fromkeys(c for i in pair for c in terms[i] if c in rest))


def _rank(
    terms: Sequence[str], pair: tuple[int, int], output: str, sizes: dict[str, int]
) -> tuple[int, int]:
    def size(letters: Any) -> int:
        return prod(sizes[c] for c in set(letters))

    result = size(_merged(terms, pair, output))
    a, b = (terms[i] for i in pair)
    return result - size(a) - size(b), size(a + b)


def _cost(
    equation: Equation, sizes: dict[str, int], path: Sequence[tuple[int, ...]]
) -> tuple[int, int]:
    """Operations, and the number of letters of the largest step."""
    remaining, total, largest = list(equation.inputs), 0, 0
    for pair in path:
        letters = set("".join(remaining[i] for i in pair))
        merged = _merged(remaining, pair, equation.output)
        summed = len(letters) > len(merged)
        total += prod(sizes[c] for c in letters) * (
            max(len(pair) - 1, 1) + summed - (len(pair) == 1)
        )
        largest = max(largest, len(letters))
        remaining = [s for i, s in enumerate(remaining) if i not in pair] + [merged]
    return total, largest


def _without_repeats(term: Term) -> Term:
    """Diagonals of letters that an operand names twice."""
    letters, node = term.letters, term.node
    while repeated := next((c for c in letters if letters.count(c) > 1), None):
        i = letters.index(repeated)
        j = letters.index(repeated, i + 1)
        node = diagonal(wrap(node), 0, i, j)._node
        letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + repeated
    return Term(letters, node)


def _summed(term: Term, kept: set[str]) -> Term:
    drop = [i for i, c in enumerate(term.letters) if c not in kept]
    if not drop:
        return term
    letters = "".join(c for c in term.letters if c in kept)
    return Term(letters, reduce_axes(Sum, term.node, drop))


def _contract(a: Term, b: Term, kept: set[str]) -> Term:
    """Letters of both are batch axes where kept, else summed; sizes 1 are stretched."""
    a = _summed(a, kept | set(b.letters))
    b = _summed(b, kept | set(a.letters))
    both = [c for c in a.letters if c in b.letters]
    size = {c: max(_size(a, c), _size(b, c), key=lambda n: (n != 1, n)) for c in both}
    batch = [c for c in both if c in kept]
    inner = [c for c in both if c not in kept]
    only_a = [c for c in a.letters if c not in both]
    only_b = [c for c in b.letters if c not in both]
    left = _arranged(a, [batch, only_a, inner], size)
    right = _arranged(b, [batch, inner, only_b], size)
    shape = [
        *(size[c] for c in batch),
        *(_size(a, c) for c in only_a),
        *(_size(b, c) for c in only_b),
    ]
    if inner:
        out = MatMul()(left, right)
    else:
        whole = (*left.shape[:-1], right.shape[-1])
        axes = range(len(whole))
        out = Multiply()(broadcast_axes(left, whole, axes), broadcast_axes(right, whole, axes))
    return Term("".join(batch + only_a + only_b), reshape(out, tuple(shape)))


def _size(term: Term, letter: str) -> int:
    return term.node.shape[term.letters.index(letter)]


def _arranged(term: Term, groups: Sequence[Sequence[str]], size: dict[str, int]) -> Node:
    """The letters of each group as one axis: (batch..., rows, columns) with a single batch."""
    order = [c for g in groups for c in g]
    x = transpose(term.node, [term.letters.index(c) for c in order])
    full = tuple(size.get(c, _size(term, c)) for c in order)
    x = broadcast_axes(x, full, range(len(full))) if full != x.shape else x
    sizes = [prod(size.get(c, _size(term, c)) for c in g) for g in groups]
    return reshape(x, tuple(sizes if groups[0] else sizes[1:]))


def _finished(term: Term, output: str, sizes: dict[str, int]) -> Node:
    term = _summed(term, set(output))
    x = transpose(term.node, [term.letters.index(c) for c in output])
    full = tuple(sizes[c] for c in output)
    return x if x.shape == full else broadcast_axes(x, full, range(len(full)))
