from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.config import (
    AnchorPriors,
    Config,
    FitPriors,
    SsdPriors,
    bundled_names,
    field_names,
    load_config,
    make_spec,
)
from edgedet.errors import ConfigError
from edgedet.models import BACKBONES, HEADS, build

NO_BOXES = np.zeros((0, 2), np.float32)
BOXES = np.random.default_rng(0).uniform(10, 90, (100, 2)).astype(np.float32)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


MINIMAL = """
name: mine
network: {head: ssdlite, backbone: mobilenet_v2, width: 0.35}
input: {height: 96, width: 128}
priors: {kind: ssd, ratios: [[2, 3], [2, 3]]}
coding: {kind: ssd}
training: {epochs: 2}
"""


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_configurations_make_a_detector(name: str) -> None:
    config = load_config(name)
    spec = make_spec(config, config.tree.names if config.tree else ("a", "b"), BOXES)
    assert spec.problems() == []
    assert spec.name == config.name == name


def test_every_network_has_a_bundled_configuration() -> None:
    networks = [load_config(name).network for name in bundled_names()]
    assert {n.head for n in networks} == {*HEADS} - {"darknet"}, "darknet has no layers of its own"
    assert {n.backbone for n in networks} == {*BACKBONES, ""}


def test_the_v3_configuration_is_torchvisions_ssdlite() -> None:
    spec = make_spec(load_config("ssdlite_mobilenet_v3_large"), [f"c{k}" for k in range(90)], NO_BOXES)
    assert spec.num_priors == 3234
    assert sum(p.numel() for p in build(spec).parameters()) == 3_440_060


def test_a_file_and_the_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.training.batch_size == 16
    assert config.nms.score_min == 0.05
    assert isinstance(config.priors, SsdPriors)
    assert make_spec(config, ("a",), NO_BOXES).num_priors == (8 * 6 + 4 * 3) * 6


def test_set_changes_values_in_yaml() -> None:
    config = load_config(
        "ssdlite_mobilenet_v2",
        [
            "training.lr=1e-4",
            "network.width=0.5",
            "nms.class_agnostic=true",
            "training.minutes=15",
            "training.val_split=''",
        ],
    )
    assert (config.training.lr, config.network.width, config.nms.class_agnostic) == (1e-4, 0.5, True)
    assert (config.training.minutes, config.training.epochs, config.training.val_split) == (15, None, "")


def test_set_can_change_the_kind_of_priors() -> None:
    config = load_config("ssdlite_mobilenet_v2", ["priors.kind=fit", "priors.anchors_per_level=[4, 2]"])
    assert config.priors == FitPriors(kind="fit", anchors_per_level=(4, 2))
    whole = load_config("ssdlite_mobilenet_v2", ["priors={kind: anchors, anchors_wh_px: [[[8, 8]], [[30, 40]]]}"])
    assert isinstance(whole.priors, AnchorPriors)
    assert make_spec(whole, ("a",), NO_BOXES).levels[1].anchors_wh_px == ((30.0, 40.0),)


def test_fitted_anchors_go_to_the_finest_level_first() -> None:
    ssd = make_spec(
        load_config("ssdlite_mobilenet_v2", ["priors={kind: fit, anchors_per_level: [3, 2]}"]), ("a",), BOXES
    )
    yolo = make_spec(load_config("tiny_yolov3"), ("a",), BOXES)
    for fine, coarse in (ssd.levels, tuple(reversed(yolo.levels))):
        assert fine.grid_h > coarse.grid_h
        assert max(w * h for w, h in fine.anchors_wh_px) <= min(w * h for w, h in coarse.anchors_wh_px)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["training.learning_rate=1"], ["training.learning_rate", "training.lr"]),
        (["lr=1"], ["no field lr", "training.lr"]),
        (["training.lr"], ["no field and value", "--set training.lr=0.001"]),
        (["training.lr=-1"], ["training.lr is -1", "greater than 0"]),
        (["training.batch_size=many"], ["training.batch_size is 'many'", "integer"]),
        (["training.optimiser=adam"], ["training.optimiser is 'adam'", "'sgd' or 'adamw'"]),
        (["network.backbone=resnet18"], ["network.backbone", "mobilenet_v2"]),
        (["network.head=ssd9"], ["network.head", "ssdlite"]),
        (["network.layers=8x3 detect"], ["network.layers", "Head darknet"]),
        (["input.width=20"], ["20x320", "at least 32 px"]),
        (["input.std=0"], ["input.std"]),
        (["nms.max_detections=5000"], ["nms.max_detections", "pre_topk"]),
        (["priors.ratios=[[2]]"], ["1 levels of priors", "2 to 6"]),
        (["coding.score=obj_times_cls"], ["coding.score is 'obj_times_cls'", "softmax_bg0"]),
        (["priors.kind=boxes"], ["priors", "boxes"]),
        (["training=[1, 2]"], ["training"]),
        (["training.lr=[1"], ["not readable as YAML"]),
        (["augment.zoom_out_max=0.5"], ["augment.zoom_out_max is 0.5"]),
        (["training.patience=3"], ["training", "Keep best and patience need validations", "eval_every"]),
        (["training.keep=best", "training.eval_every=1", "training.val_split="], ["give val_split"]),
        (["training.min_delta=0.01"], ["Min_delta belongs to patience"]),
        (["training.monitor=accuracy"], ["training.monitor is 'accuracy'", "'coco_ap'"]),
        (["training.freeze=head"], ["training.freeze is 'head'", "'backbone'"]),
        (["training.freeze_epochs=3"], ["give freeze too"]),
        (["training.freeze=backbone", "training.epochs=3", "training.freeze_epochs=3"], ["leave it out to freeze for"]),
        (["training.freeze=backbone", "training.lr_factor.backbone=0.1"], ["leave lr_factor.backbone out"]),
        (["training.lr_factor.body=0.1"], ["no field training.lr_factor.body", "training.lr_factor.head"]),
        (["training.lr_factor.neck=0"], ["training.lr_factor.neck is 0", "greater than 0"]),
        (["training.minutes=3", "training.deterministic=true"], ["give epochs instead of minutes"]),
        (["training.accumulate=0"], ["training.accumulate is 0", "greater than 0"]),
        (["training.batch_norm=group"], ["training.batch_norm is 'group'", "'sync'"]),
        (["training.precision=fp8"], ["training.precision is 'fp8'", "'fp16'"]),
    ],
)
def test_each_fault_names_field_and_remedy(changes: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("ssdlite_mobilenet_v2", changes)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL.replace("epochs: 2", "epochs: 2, minutes: 3"), ["training", "exactly one of epochs and minutes"]),
        (MINIMAL.replace("epochs: 2", "batch_size: 4"), ["training", "exactly one of epochs and minutes"]),
        (MINIMAL.replace("name: mine", ""), ["name is missing"]),
        (MINIMAL.replace("head: ssdlite,", ""), ["network.head is missing"]),
        (MINIMAL.replace("height: 96", "heigth: 96"), ["input.heigth", "input.height"]),
        (MINIMAL.replace("kind: ssd}", "kind: ssd, varances: 1}"), ["coding.varances", "coding.variances"]),
        (MINIMAL + "trainning: {}\n", ["trainning", "training"]),
        ("[1, 2]", ["holds no fields"]),
        ("", ["holds no fields"]),
        ("a: [", ["not readable as YAML"]),
    ],
)
def test_faults_of_a_file_name_it(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for word in (str(path), *words):
        assert word in str(caught.value), str(caught.value)


def test_a_file_that_is_not_there_lists_the_bundled_names() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such configuration.*tiny_yolov3"):
        load_config("nowhere.yaml")


def test_a_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)


def test_field_names_reach_every_part() -> None:
    names = set(field_names(Config))
    assert {
        "network.width",
        "input.mean",
        "priors.anchors_per_level",
        "nms.iou_max",
        "training.lr",
        "augment.hue",
    } <= names


def test_digest_ignores_what_does_not_change_the_result() -> None:
    def digest(*changes: str) -> str:
        return load_config("demo", changes).digest()

    assert digest() == digest("training.workers=0", "training.cache_mb=1", "training.eval_every=1")
    best = ("training.eval_every=1", "training.keep=best")
    assert digest(*best) == digest(*best, "training.patience=3", "training.min_delta=0.01")
    assert len({digest(), digest(*best), digest(*best, "training.monitor=coco_ap50")}) == 3
    assert len({digest(), digest("training.lr=1"), digest("training.seed=5"), digest("augment.hue=0")}) == 4
