"""Trees of classes: their YAML form, their order, and every fault said in the user's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgedet.class_tree import ROOT, ClassTree, read_tree_file, tree_of
from edgedet.errors import ConfigError

_FORM = """
animal:
  cat:
  dog: [terrier, husky]
plant: {tree: , flower: {rose: , 7: }}
"""


def test_levels_come_one_after_the_other_and_siblings_side_by_side() -> None:
    tree = tree_of(yaml.safe_load(_FORM), "tree.yaml")
    assert tree.names == ("animal", "plant", "cat", "dog", "tree", "flower", "terrier", "husky", "rose", "7")
    assert tree.parents == (-1, -1, 0, 0, 1, 1, 3, 3, 5, 5)
    assert [tuple(group) for group in tree.groups] == [(ROOT, 0, 2), (0, 2, 4), (1, 4, 6), (3, 6, 8), (5, 8, 10)]
    assert [tree.names[k] for k in tree.path(7)] == ["animal", "dog", "husky"]
    assert tree.path(1) == (1,)
    assert tree.problems() == []


def test_a_list_is_a_tree_of_one_level_and_may_hold_mappings() -> None:
    assert tree_of(["a", "b"], "x") == ClassTree(("a", "b"), (ROOT, ROOT))
    assert tree_of(["a", {"b": ["c", "d"]}], "x") == tree_of({"a": None, "b": ["c", "d"]}, "x")


@given(st.recursive(st.none(), lambda below: st.lists(below, min_size=2, max_size=3), max_leaves=12))
def test_every_nesting_of_two_or_more_is_sound(shape: object) -> None:
    names = iter(map(str, range(1000)))

    def named(node: object) -> object:
        return {next(names): named(child) for child in node} if isinstance(node, list) else None

    if isinstance(shape, list):
        tree = tree_of(named(shape), "x")
        assert tree.problems() == []
        assert sorted(k for group in tree.groups for k in range(group.start, group.stop)) == [*range(len(tree.names))]
        assert all(tree.parents[k] == group.parent for group in tree.groups for k in range(group.start, group.stop))


@pytest.mark.parametrize(
    ("nested", "word"),
    [
        ({}, "has no class"),
        ("cat", "neither a mapping nor a list"),
        ({"cat": 3}, "neither a mapping nor a list"),
        ({"cat": ["cat", "dog"]}, "'cat' is in the tree twice"),
        ({"animal": ["dog"]}, "the one child 'dog'"),
        ({True: None, "off": None}, "True is no text"),
        ([["a", "b"]], "is no text"),
    ],
)
def test_faults_name_the_class(nested: object, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        tree_of(nested, "tree.yaml")
    assert str(caught.value).startswith("tree.yaml: ")


@pytest.mark.parametrize(
    ("parents", "word"),
    [
        ((-1, -1, 0), "3 numbers for 4 classes"),
        ((-1, 2, -1, 0), r"class_parents\[1\] is 2"),
        ((-1, -1, 0, -2), r"class_parents\[3\] is -2"),
        ((-1, 0, -1, 0), "siblings must stand side by side"),
        ((-1, -1, -1, 0), "the one child 'd'"),
    ],
)
def test_problems_of_a_tree_that_came_as_numbers(parents: tuple[int, ...], word: str) -> None:
    (problem,) = ClassTree(("a", "b", "c", "d"), parents).problems()
    assert re.search(word, problem)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("a: [b, c", encoding="utf-8")
    for name in ("tree.yaml", "missing.yaml"):
        with pytest.raises(ConfigError, match=name):
            read_tree_file(tmp_path / name)
