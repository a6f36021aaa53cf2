"""Classes as a tree (the WordTree of the YOLO9000 paper, section 4): its groups of siblings, its paths, its YAML form.

The tree is data: the names, and for each class the index of its parent. A class is any node, inner ones included. This
module knows no tensor library, like edgedet.spec, which holds the numbers.

The YAML form is a nested mapping or list; a name without anything below it is a leaf:

    cell: [RBC, WBC]
    Platelets:
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from edgedet.errors import ConfigError

ROOT = -1
_FORM = "Write it as nested names, {animal: [cat, dog], plant: }."


class SiblingGroup(NamedTuple):
    """The children of one class, or those of the root: classes start..stop - 1. One softmax runs over each group."""

    parent: int
    start: int
    stop: int


@dataclass(frozen=True)
class ClassTree:
    """Class names, and for each the index of its parent, ROOT where it has none.

    Classes are ordered so that parents come before their children and siblings stand side by side; `problems` says
    where they are not.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    @property
    def groups(self) -> tuple[SiblingGroup, ...]:
        """Every group of siblings, in the order of their classes; that of the root comes first."""
        found = []
        for parent, members in groupby(range(len(self.parents)), key=lambda k: self.parents[k]):
            indices = list(members)
            found.append(SiblingGroup(parent, indices[0], indices[-1] + 1))
        return tuple(found)

    def path(self, class_id: int) -> tuple[int, ...]:
        """The classes from the root's child down to the class, both included."""
        found = [class_id]
        while self.parents[found[-1]] != ROOT:
            found.append(self.parents[found[-1]])
        return tuple(reversed(found))

    def problems(self) -> list[str]:
        """What is wrong with the order or the groups, in the user's words; empty when the tree is sound."""
        if len(self.parents) != len(self.names):
            return [f"class_parents has {len(self.parents)} numbers for {len(self.names)} classes"]
        for k, parent in enumerate(self.parents):
            if not ROOT <= parent < k:
                return [f"class_parents[{k}] is {parent}: a parent must stand before its children, {ROOT} is the root"]
        groups = self.groups
        if len({group.parent for group in groups}) != len(groups):
            return ["class_parents scatters the children of one class: siblings must stand side by side"]
        lonely = [group for group in groups if group.parent != ROOT and group.stop - group.start == 1]
        if lonely:
            parent, only, _ = lonely[0]
            found = f"class {self.names[parent]!r} has the one child {self.names[only]!r}"
            return [f"{found}, which no softmax tells from it"]
        return []


def tree_of(nested: object, source: str) -> ClassTree:
    """The tree of nested mappings and lists, level by level, so that siblings stand side by side.

    Args:
        nested: what the YAML form above parses to.
        source: file or field it comes from, for messages.

    Raises:
        ConfigError: neither a mapping nor a list, empty, a name twice or that is no text, or a class with one child.
    """
    names: list[str] = []
    parents: list[int] = []
    queue: list[tuple[int, object]] = [(ROOT, nested)]
    for parent, below in queue:  # it grows while it is read: breadth first
        for name, deeper in _children(below, source):
            if deeper is not None:
                queue.append((len(names), deeper))
            names.append(name)
            parents.append(parent)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{source}: class {twice[0]!r} is in the tree twice", "Give every class one place.")
    if not names:
        raise ConfigError(f"{source}: the tree has no class", _FORM)
    tree = ClassTree(tuple(names), tuple(parents))
    if problems := tree.problems():
        raise ConfigError(f"{source}: {problems[0]}", "Give the child a sibling or leave it out.")
    return tree


def read_tree_file(file: Path) -> object:
    """The nested names of a YAML file.

    Raises:
        ConfigError: missing, or not YAML.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: the tree of classes cannot be read ({reason})", _FORM) from error


def _children(below: object, source: str) -> Iterator[tuple[str, object]]:
    """Names of one level, each with what is below it; None for a leaf."""
    if isinstance(below, Mapping):
        for name, deeper in below.items():
            yield _name(name, source), deeper or None
    elif isinstance(below, Sequence) and not isinstance(below, str):
        for entry in below:
            if isinstance(entry, Mapping):
                yield from _children(entry, source)
            else:
                yield _name(entry, source), None
    else:
        raise ConfigError(f"{source}: {below!r} is neither a mapping nor a list of classes", _FORM)


def _name(value: Any, source: str) -> str:
    """YAML reads a name such as 7 or no as a number or a truth value: only the number's text is certain."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{source}: the class name {value!r} is no text", "Put it into quotes.")
    return str(value)
