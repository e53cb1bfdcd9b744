"""The tree functions of mlx.utils behave as observed with MLX."""

from collections import namedtuple

import pytest

from mlx.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

TREE = {"a": 1, "b": (2, [3, {}]), "c": [], "d": None}


def is_tuple(value):
    return isinstance(value, tuple)


class TestFlatten:
    def test_paths(self):
        assert tree_flatten(TREE) == [("a", 1), ("b.0", 2), ("b.1.0", 3), ("d", None)]
        assert tree_flatten(5) == [("", 5)]
        assert tree_flatten({1: {2: 3}}) == [("1.2", 3)]

    def test_prefix_loses_its_first_character(self):
        assert tree_flatten([[0]], ".hello") == [("hello.0.0", 0)]
        assert tree_flatten([0], prefix="hello") == [("ello.0", 0)]

    def test_is_leaf(self):
        assert tree_flatten(TREE, is_leaf=is_tuple)[1] == ("b", (2, [3, {}]))

    def test_destination(self):
        found = [("z", 0)]
        assert tree_flatten([7], destination=found) is found
        assert found == [("z", 0), ("0", 7)]
        assert tree_flatten([7], prefix=".p", destination={"z": 0}) == {"z": 0, "p.0": 7}
        with pytest.raises(ValueError, match="Destination"):
            tree_flatten([7], destination=5)


class TestUnflatten:
    @pytest.mark.parametrize(
        ("flat", "tree"),
        [
            ([("a.0", 1), ("a.1", 2), ("b.x", 3)], {"a": [1, 2], "b": {"x": 3}}),
            ([("a.1", 1), ("a.0", 2)], {"a": [2, 1]}),
            ([("a.2", 1), ("a.0", 2)], {"a": [2, {}, 1]}),
            ([("0", 1), ("x", 2)], {"0": 1, "x": 2}),
            ([("", 1)], 1),
            ([], []),
            ({"a.0.b": 1}, {"a": [{"b": 1}]}),
        ],
    )
    def test_trees(self, flat, tree):
        assert tree_unflatten(flat) == tree

    def test_undoes_flatten(self):
        tree = {"a": [1, {"b": 2}], "c": {"d": [3]}}
        assert tree_unflatten(tree_flatten(tree)) == tree


class TestMap:
    def test_structure_and_further_trees(self):
        assert tree_map(lambda x: x, TREE) == TREE
        added = tree_map(lambda x, y: x + y, {"a": 1, "b": (2,)}, {"a": 10, "b": (20,), "z": 0})
        assert added == {"a": 11, "b": (22,)}

    def test_missing_places(self):
        with pytest.raises(KeyError):
            tree_map(lambda x, y: x, {"a": 1}, {})
        with pytest.raises(IndexError):
            tree_map(lambda x, y: x, [1, 2], [1])

    def test_named_tuples_keep_their_type(self):
        point = namedtuple("point", "x y")
        assert tree_map(lambda v: v + 1, point(1, 2)) == point(2, 3)

    def test_is_leaf(self):
        assert tree_map(len, {"a": (1, 2)}, is_leaf=is_tuple) == {"a": 2}

    def test_with_path(self):
        def show(path, value, other=""):
            return f"{path}={value}{other}"

        assert tree_map_with_path(show, {"a": [1, {}]}) == {"a": ["a.0=1", {}]}
        assert tree_map_with_path(show, [1], path="p") == ["p.0=1"]
        assert tree_map_with_path(show, {1: 2}, {1: 3}) == {1: "1=23"}
        assert tree_map_with_path(show, 5) == "None=5"


class TestReduce:
    def test_folds(self):
        def add(a, b):
            return a + b

        assert tree_reduce(add, {"a": 1, "b": [2, 3, (4, {})]}) == 10
        assert tree_reduce(add, [1, 2], 10) == 13
        assert tree_reduce(add, {}) is None
        assert tree_reduce(add, {}, 0) == 0
        assert tree_reduce(add, [(1,), (2,)], (), is_leaf=is_tuple) == (1, 2)


class TestMerge:
    @pytest.mark.parametrize(
        ("a", "b", "merged"),
        [
            ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
            ({"a": {}}, {"a": 1}, {"a": 1}),
            ([1, None, {}], [None, 4, {"b": 3}], [1, 4, {"b": 3}]),
            ([1, 2], [None, None, 3], [1, 2, 3]),
            ((1, {}), (None, {"a": 1}), (1, {"a": 1})),
            ({}, [1], [1]),
        ],
    )
    def test_disjoint(self, a, b, merged):
        assert tree_merge(a, b) == merged

    def test_both(self):
        with pytest.raises(ValueError, match="no merge function"):
            tree_merge({"a": 1}, {"a": 2})
        assert tree_merge({"a": [1, 2]}, {"a": [3, 4, 5]}, lambda x, y: x + y) == {"a": [4, 6, 5]}
        assert tree_merge({"a": (1, 2)}, {"a": 5}, lambda x, y: (x, y)) == {"a": ((1, 2), 5)}
