"""Names of layers: every one once, in order of execution, and found again by near names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edgedet.errors import ExportError
from edgedet.export.deployable import Deployable
from edgedet.export.layers import (
    Layer,
    chosen_layers,
    float_layers,
    layers_of,
    read_layer_names,
    refuse_unfit_weights,
)
from edgedet.export.options import ExportOptions
from tests.small_models import SPECS, small_model


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "yolov3_tiny", "retinanet_lite_mobilenet_v1", "yolov1"])
def test_every_layer_once(name: str) -> None:
    deployable = Deployable(small_model(SPECS[name]), SPECS[name])
    layers = layers_of(deployable)
    modules = {n: m for n, m in deployable.network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}

    assert {layer.name for layer in layers} == set(modules)
    assert len(layers) == len(modules)
    assert all(torch.equal(layer.weight, modules[layer.name].weight) for layer in layers)
    assert layers[-1].name.startswith(("box_heads", "class_heads"))
    assert layers[0].weight.shape[1] == 3


def test_depthwise_layers_know_it() -> None:
    spec = SPECS["ssdlite_mobilenet_v2"]
    layers = {layer.name: layer for layer in layers_of(Deployable(small_model(spec), spec))}
    assert layers["backbone.features.1.conv.0.0"].is_depthwise
    assert not layers["backbone.features.0.0"].is_depthwise


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("ssdlite_mobilenet_v2", ("backbone.features.0.0", "backbone.features.1.conv.0.0")),
        ("ssdlite_mobilenet_v3_large_tree", ("backbone.features.0.0", "backbone.features.1.block.0.0")),
        ("yolov3_tiny", ("body.layers.0.0",)),
    ],
)
def test_8_bits_keep_the_stem_in_float(name: str, stem: tuple[str, ...]) -> None:
    layers = layers_of(Deployable(small_model(SPECS[name]), SPECS[name]))
    last = layers[-1].name
    assert float_layers(layers, ExportOptions("int8")) == stem
    assert float_layers(layers, ExportOptions("int8", float_layers=(last,))) == (*stem, last)
    assert float_layers(layers, ExportOptions("int8-weights", float_layers=(last,))) == (*stem, last)
    assert float_layers(layers, ExportOptions("palette6", float_layers=(last,))) == (last,)


def _layers(*names: str) -> list[Layer]:
    return [Layer(name, torch.zeros(1, 1, 1, 1), 1) for name in names]


def test_names_and_what_holds_layers_may_be_asked_for() -> None:
    layers = _layers("stem", "heads.0", "heads.1", "headstone")
    assert chosen_layers(layers, ["heads.1", "stem"]) == ("stem", "heads.1")
    assert chosen_layers(layers, ["heads"]) == ("heads.0", "heads.1")
    assert chosen_layers(layers, []) == ()


@pytest.mark.parametrize(("name", "near"), [("heads.2", "heads.0"), ("xyz", "There are stem to heads.1")])
def test_an_unknown_name_is_told_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(ExportError, match=f"no layer '{name}'") as caught:
        chosen_layers(_layers("stem", "heads.0", "heads.1"), [name])
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_come_with_commas_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    file.write_text(json.dumps({"schema": 1, "float_layers": ["a.0", "b"]}))
    assert read_layer_names("a.0, b") == read_layer_names(str(file)) == ("a.0", "b")
    assert read_layer_names("") == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"float_layers": "a"}', '{"float_layers": [1]}'])
def test_a_file_without_layers_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "search.json"
    file.write_text(text)
    with pytest.raises(ExportError, match=r"search\.json") as caught:
        read_layer_names(str(file))
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="cannot be read"):
        read_layer_names(str(tmp_path / "absent.json"))


def test_weights_that_are_no_numbers_are_refused() -> None:
    bad = Layer("stem", torch.tensor([[float("nan")]]), 1)
    with pytest.raises(ExportError, match="layer stem: its weights hold NaN"):
        refuse_unfit_weights([*_layers("a"), bad])
    refuse_unfit_weights(_layers("a"))
