"""A tree of classes in a configuration: inline or in a file, and every way it can contradict the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.config import load_config, make_spec
from edgedet.errors import ConfigError

TREE = "coding.score=softmax_tree"
BOXES = np.full((40, 2), 30, np.float32) + np.arange(40, dtype=np.float32)[:, None]


def test_the_tree_gives_the_detectors_classes(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("polygon: [square, triangle]\ndisc:\n", encoding="utf-8")
    inline = load_config("demo", (TREE, "classes={polygon: [square, triangle], disc: }"))
    file = load_config("demo", (TREE, f"classes={tmp_path / 'tree.yaml'}"))
    assert inline.tree == file.tree
    assert inline.digest() == file.digest() != load_config("demo", (TREE, "classes=[polygon, disc]")).digest()
    spec = make_spec(inline, ["triangle", "disc"], BOXES)
    assert spec.class_names == ("polygon", "disc", "square", "triangle")
    assert spec.class_parents == (-1, -1, 0, 0)
    assert spec.num_logits == 5, "and background"


def test_a_file_may_lie_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "configs" / "demo.yaml").read_text(encoding="utf-8")
    (tmp_path / "run.yaml").write_text(text.replace("softmax_bg0", "softmax_tree") + "classes: tree.yaml\n")
    (tmp_path / "tree.yaml").write_text("[polygon, disc]", encoding="utf-8")
    monkeypatch.chdir(Path(__file__).parent)
    tree = load_config(tmp_path / "run.yaml").tree
    assert tree is not None
    assert tree.names == ("polygon", "disc")


def test_the_bundled_tree_names_the_labels_of_its_data() -> None:
    spec = make_spec(load_config("bccd_tree"), ["RBC", "WBC", "Platelets"], BOXES)
    assert spec.class_names == ("cell", "Platelets", "RBC", "WBC")
    with pytest.raises(ConfigError, match="label 'Plasma' is no class of the tree"):
        make_spec(load_config("bccd_tree"), ["RBC", "Plasma"], BOXES)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ((TREE,), "'softmax_tree' needs a tree"),
        (("classes=[a, b]",), "'softmax_bg0' knows no tree"),
        ((TREE, "classes={a: [b]}"), "the one child 'b'"),
        ((TREE, "classes=missing.yaml"), r"missing\.yaml: the tree of classes cannot be read"),
        ((TREE, "classes=[a, b]", "coding.tree_min=2"), "tree_min is 2"),
        (("training.image_label_share=0.2",), "learns from boxes only"),
        (("training.image_label_share=1",), "image_label_share"),
        (("training.image_label_after=1",), "give image_label_share too"),
        (("training.image_label_share=0.2", "training.image_label_after=30"), "reaches the last epoch"),
        (("training.image_label_share=0.2", "training.batch_size=1"), "batches of 2 or more"),
    ],
)
def test_faults_name_the_field(changes: tuple[str, ...], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load_config("demo", changes)
