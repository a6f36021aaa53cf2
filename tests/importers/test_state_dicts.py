"""State dicts of published detectors: the same outputs as the source's own network, and files that do not fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import (
    retinanet_resnet50_fpn,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)
from torchvision.ops.misc import FrozenBatchNorm2d

from edgedet.decode import Decoder
from edgedet.errors import EdgedetError
from edgedet.importers import import_model, state_dicts
from edgedet.model_file import save_model
from edgedet.preprocess import normalise
from tests.importers import pytorch_ssd_networks
from tests.small_models import SPECS, small_model

State = dict[str, Tensor]


def _stir(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms as after training, and logits that differ."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, nn.Conv2d) and module.out_channels % 6 == 0 and module.bias is not None:
            module.bias.data.normal_(0, 1, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(0)
    return _stir(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21))


@pytest.fixture(scope="module")
def state(theirs: nn.Module) -> State:
    return theirs.state_dict()


def _save(folder: Path, content: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


@torch.no_grad()
def test_ssdlite_gives_torchvisions_boxes_and_scores(theirs: Any, state: State, tmp_path: Path) -> None:
    found = import_model(_save(tmp_path, state))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 320, 320))).float()

    images, _ = theirs.transform([pixels[0] / 255])
    maps = list(theirs.backbone(images.tensors).values())
    heads, priors = theirs.head(maps), theirs.anchor_generator(images, maps)[0]
    raw = found.model(normalise(pixels, found.spec.input))
    boxes, scores = Decoder(found.spec)(raw)

    assert found.kind == "torchvision ssdlite320_mobilenet_v3_large"
    assert (sum(p.numel() for p in found.model.parameters()), found.spec.num_priors) == (2_469_860, 3234)
    torch.testing.assert_close(raw.box_codes, heads["bbox_regression"], atol=1e-5, rtol=0)
    torch.testing.assert_close(raw.logits, heads["cls_logits"], atol=1e-5, rtol=0)
    wanted = theirs.box_coder.decode_single(heads["bbox_regression"][0], priors)
    torch.testing.assert_close(boxes[0] * 320, wanted, atol=2e-3, rtol=0)
    torch.testing.assert_close(scores[0], torch.softmax(heads["cls_logits"][0], dim=-1)[:, 1:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_ssd300_gives_torchvisions_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=3).eval()
    found = import_model(_save(tmp_path, theirs.state_dict()))
    pixels = torch.randint(0, 256, (1, 3, 300, 300)).float()
    raw = found.model(normalise(pixels, found.spec.input))

    heads = theirs.head(list(theirs.backbone(theirs.transform.normalize(pixels / 255)).values()))

    assert found.spec.num_priors == 8732
    assert not any("mean" in note for note in found.notes)
    for ours, want in ((raw.box_codes, heads["bbox_regression"]), (raw.logits, heads["cls_logits"])):
        torch.testing.assert_close(ours, want, atol=1e-4 * float(want.std()), rtol=1e-4)


@torch.no_grad()
def test_retinanet_gives_torchvisions_heads(tmp_path: Path) -> None:
    """With frozen batch norms whose eps is 0, as in the published file."""
    torch.manual_seed(0)
    theirs: Any = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    for name, module in list(theirs.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(module.num_features, eps=0.0)
            frozen.running_mean.normal_(0, 0.1)
            frozen.running_var.uniform_(0.5, 1.5)
            frozen.weight.uniform_(0.3, 0.5)
            theirs.get_submodule(name.rpartition(".")[0]).register_module(name.rpartition(".")[2], frozen)
    theirs.head.classification_head.cls_logits.bias.normal_()
    theirs.eval()
    found = import_model(_save(tmp_path, theirs.state_dict()))
    pixels = torch.randint(0, 256, (1, 3, 128, 128)).float()
    raw = found.model(normalise(pixels, found.spec.input))

    heads = theirs.head(list(theirs.backbone(theirs.transform.normalize(pixels / 255)).values()))

    assert (found.spec.num_priors, found.spec.num_classes) == (120_087, 3)
    for ours, want in ((raw.box_codes, heads["bbox_regression"]), (raw.logits, heads["cls_logits"][..., 1:])):
        torch.testing.assert_close(ours, want, atol=1e-4 * float(want.std()), rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", pytorch_ssd_networks.NETWORKS)
def test_pytorch_ssd_gives_the_outputs_of_its_layers(tmp_path: Path, kind: str) -> None:
    network = pytorch_ssd_networks.NETWORKS[kind]
    state = pytorch_ssd_networks.random_state(network)
    found = import_model(_save(tmp_path, state))
    pixels = torch.randint(0, 256, (1, 3, 300, 300), generator=torch.Generator().manual_seed(0)).float()

    box_codes, logits = pytorch_ssd_networks.forward(network, state, (pixels - 127) / 128)
    raw = found.model(normalise(pixels, found.spec.input))

    assert (found.kind, found.spec.num_priors, found.spec.num_classes) == (kind, 3000, 2)
    torch.testing.assert_close(raw.box_codes, box_codes, atol=1e-5 * float(box_codes.std()), rtol=1e-4)
    torch.testing.assert_close(raw.logits, logits, atol=1e-5 * float(logits.std()), rtol=1e-4)


@pytest.mark.parametrize(
    ("conv_shape", "message"),
    [
        ((64, 3, 7, 7), r"cls_logits\.bias was expected for torchvision retinanet.*found none"),
        ((64, 2, 7, 7), "the first layer of torchvision retinanet_resnet50_fpn was expected, found tensors of other"),
    ],
)
def test_retinanet_without_its_layers_is_one_line(tmp_path: Path, conv_shape: tuple[int, ...], message: str) -> None:
    state = {
        "backbone.body.conv1.weight": torch.zeros(conv_shape),
        "head.classification_head.cls_logits.weight": torch.zeros(36, 2, 3, 3),
        "head.regression_head.conv.0.0.bias": torch.zeros(2),
    }
    with pytest.raises(EdgedetError, match=message):
        import_model(_save(tmp_path, state))


def test_names_of_voc_and_of_a_file(state: State, tmp_path: Path) -> None:
    path = _save(tmp_path, {"model": state, "epoch": 3})
    found = import_model(path)
    assert (found.spec.num_classes, found.spec.class_names[0]) == (20, "aeroplane")
    (tmp_path / "labels.txt").write_text("\n".join(f"c{i}" for i in range(20)))
    assert import_model(path, labels=tmp_path / "labels.txt").spec.class_names[3] == "c3"
    with pytest.raises(EdgedetError, match="only a Darknet"):
        import_model(path, weights=path)


def test_coco_names_have_no_duplicates(tmp_path: Path) -> None:
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    found = import_model(_save(tmp_path, model.state_dict()))
    assert sum(p.numel() for p in found.model.parameters()) == 3_440_060
    assert (found.spec.class_names[0], found.spec.class_names[-1]) == ("person", "toothbrush")
    assert len(set(found.spec.class_names)) == 90


_HEAD = "head.classification_head.module_list.0.1.weight"


def _without(state: State, key: str) -> State:
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: _without(s, "backbone.features.0.3.block.0.0.weight"),
            r"tensors backbone\.features\.\* were expected",
        ),
        (lambda s: s | {"backbone.extra.9.weight": torch.zeros(1)}, r"\d+ tensors backbone\.extra\.\* were expected"),
        (lambda s: s | {"another": torch.zeros(1)}, "has no tensor another"),
        (lambda s: s | {_HEAD: torch.zeros(125, 672, 1, 1)}, "has 125 rows, a multiple of 6 anchors"),
        (
            lambda s: s | {_HEAD: torch.zeros(126, 64, 1, 1)},
            r"shape \(126, 672, 1, 1\) was expected, found \(126, 64, 1, 1\)",
        ),
        (lambda s: s | {_HEAD: torch.full((126, 672, 1, 1), torch.nan)}, "not finite"),
        (lambda s: {"classifier.0.weight": torch.zeros(2)}, "holds a classifier.*--init"),
        (lambda s: {"a": torch.zeros(2)}, "1 tensors .* of no known detector"),
        (lambda s: {}, "0 tensors"),
        (lambda s: [1, 2], "holds a list"),
    ],
)
def test_what_does_not_fit_is_one_line(
    state: State, tmp_path: Path, change: Callable[[State], Any], message: str
) -> None:
    with pytest.raises(EdgedetError, match=message) as caught:
        import_model(_save(tmp_path, change(state)))
    assert "\n" not in str(caught.value)
    assert "weights.pth" in str(caught.value)


def test_truncated_and_own_files(state: State, tmp_path: Path) -> None:
    path = _save(tmp_path, state)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(EdgedetError, match="not a readable weights file"):
        import_model(path)
    spec = SPECS["ssdlite_mobilenet_v3_small"]
    save_model(tmp_path / "model.pt", small_model(spec), spec)
    with pytest.raises(EdgedetError, match=r"already a model\.pt"):
        import_model(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("mobilenet_v2", "train ssdlite_mobilenet_v2 --init"),
        ("mobilenet_v3_large", r"train ssdlite_mobilenet_v3_large --init .* --set network\.reduced_tail=false"),
        ("mobilenet_v3_small", r"train ssdlite_mobilenet_v3_small --init .* --set network\.reduced_tail=false"),
        ("resnet50", "train retinanet_resnet50 --init"),
        ("vgg16", "train ssd300_vgg16 --init"),
    ],
)
def test_a_classifier_is_named_with_the_command_that_starts_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name, num_classes=7).state_dict()
    monkeypatch.setattr(state_dicts, "load_torch_file", lambda path: dict(shapes))  # their weights are large
    with pytest.raises(EdgedetError, match=rf"torchvision's classifier {name}, a backbone.*{command}"):
        import_model(tmp_path / "weights.pth")


class _Code:
    """Would run when unpickled the plain way."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("was_run",)


def test_code_in_a_file_is_not_run(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgedetError, match=r"tensors .* were expected, found the code of posix\.mkdir") as caught:
        import_model(_save(tmp_path, state | {"extra": _Code()}))
    assert "\n" not in str(caught.value)
    assert not Path("was_run").exists()


def test_labels_of_another_number_are_one_line(state: State, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(EdgedetError, match=r"labels\.txt: 20 class names were expected, found 2"):
        import_model(_save(tmp_path, state), labels=tmp_path / "labels.txt")
