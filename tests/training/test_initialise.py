from __future__ import annotations

import hashlib
import urllib.error
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import Tensor, nn

from edgedet.config import TrainingConfig
from edgedet.errors import ConfigError, ModelFileError, NotRunError
from edgedet.model_file import load_torch_file, save_model
from edgedet.models import build
from edgedet.preprocess import normalise
from edgedet.spec import DetectorSpec, NetworkSpec
from edgedet.training import initialise as module
from edgedet.training.initialise import IMAGENET_MEAN, IMAGENET_STD, initialise
from tests.small_models import small_model, small_spec

CONFIG = TrainingConfig(epochs=1)
SPEC = small_spec("ssdlite_mobilenet_v2")


def classifier(width: float = 0.35, classes: int = 1001) -> nn.Module:
    """A torchvision classifier whose batch norms have seen something."""
    torch.manual_seed(3)
    model = torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width)
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(4, 3, 64, 64) + 0.3)
    return model.eval()


def saved(folder: Path, content: object) -> str:
    path = folder / "weights.pth"
    torch.save(content, path)
    return str(path)


def test_a_classifier_of_any_number_of_classes(tmp_path: Path) -> None:
    source, model = classifier(), build(SPEC)
    report = initialise(model, SPEC, saved(tmp_path, source.state_dict()), CONFIG)
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.allclose(model.eval().backbone(x)[1], source.features(x), atol=1e-5)
    features = sum(1 for key in source.state_dict() if key.startswith("features."))
    assert (report.loaded, report.total) == (features, len(model.state_dict()))
    assert f"{features} of {len(model.state_dict())} tensors" in str(report)


def test_half_precision_storage_and_a_wrapper(tmp_path: Path) -> None:
    state = {"backbone." + k: v.half() if v.is_floating_point() else v for k, v in classifier().state_dict().items()}
    model = build(SPEC)
    initialise(model, SPEC, saved(tmp_path, {"state_dict": state}), CONFIG)
    assert model.backbone.features[0][0].weight.dtype == torch.float32


def imagenet_input(pixels: Tensor) -> Tensor:
    return (pixels / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


def test_per_channel_normalisation_is_folded(tmp_path: Path) -> None:
    source, model = classifier(), build(SPEC)
    config = CONFIG.model_copy(update={"init_normalisation": "imagenet"})
    report = initialise(model, SPEC, saved(tmp_path, source.state_dict()), config)
    assert "folded" in str(report)
    pixels = torch.rand(1, 3, 96, 128) * 255
    with torch.no_grad():
        expected = source.features[0](imagenet_input(pixels))
        found = model.eval().backbone.features[0]((pixels - 127.5) / 127.5)
    # The border differs: zero padding means another grey under the other normalisation.
    assert torch.allclose(found[:, :, 1:, 1:], expected[:, :, 1:, 1:], atol=1e-4)


def test_another_eps_of_batch_norm(tmp_path: Path) -> None:
    spec = small_spec("ssdlite_mobilenet_v3_small")
    torch.manual_seed(0)
    source = torchvision.models.mobilenet_v3_small(width_mult=0.5).eval()
    for norm in source.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-5
            nn.init.uniform_(norm.running_var, 0.001, 1)  # where eps matters
    model = build(spec)
    initialise(model, spec, saved(tmp_path, source.state_dict()), CONFIG.model_copy(update={"init_norm_eps": 1e-5}))
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert torch.allclose(model.eval().backbone(x)[1], source.features(x), rtol=1e-3, atol=1e-4)


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, classifier(width=0.5).state_dict())
    with pytest.raises(ModelFileError, match=r"weights\.pth: not weights of mobilenet_v2 at width 0\.35 .*has shape"):
        initialise(build(SPEC), SPEC, path, CONFIG)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torchvision.models.mobilenet_v3_small(width_mult=0.35).state_dict())
    with pytest.raises(ModelFileError, match=r"weights\.pth: not weights of mobilenet_v2.*is missing"):
        initialise(build(SPEC), SPEC, path, CONFIG)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}])
def test_a_file_without_weights(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(ModelFileError, match=r"holds no weights|not weights of"):
        initialise(build(SPEC), SPEC, saved(tmp_path, content), CONFIG)


def test_a_missing_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no such file"):
        initialise(build(SPEC), SPEC, str(tmp_path / "no.pth"), CONFIG)
    path = Path(saved(tmp_path, classifier().state_dict()))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="not a readable weights file"):
        initialise(build(SPEC), SPEC, str(path), CONFIG)


def test_an_earlier_model_with_other_classes(tmp_path: Path) -> None:
    earlier = small_model(SPEC)
    save_model(tmp_path / "model.pt", earlier, SPEC)
    spec = replace(SPEC, class_names=("a", "b", "c", "d", "e"))
    model = build(spec)
    report = initialise(model, spec, str(tmp_path / "model.pt"), CONFIG)
    own, given = model.state_dict(), earlier.state_dict()
    changed = [key for key in own if own[key].shape != given[key].shape]
    assert changed
    assert all(key.startswith("class_heads.") for key in changed)
    assert all(torch.equal(own[key], given[key]) for key in own if key not in changed)
    assert (report.loaded, report.total) == (len(own) - len(changed), len(own))
    assert "class_heads" in str(report)


def test_an_earlier_model_with_other_priors(tmp_path: Path) -> None:
    earlier = small_model(SPEC)
    save_model(tmp_path / "model.pt", earlier, SPEC)
    levels = tuple(replace(level, anchors_wh_px=level.anchors_wh_px[:2]) for level in SPEC.levels)
    spec = replace(SPEC, levels=levels)
    model = build(spec)
    report = initialise(model, spec, str(tmp_path / "model.pt"), CONFIG)
    assert torch.equal(model.backbone.features[0][0].weight, earlier.backbone.features[0][0].weight)
    assert "box_heads, class_heads" in str(report)


def test_an_earlier_model_of_another_network(tmp_path: Path) -> None:
    other = small_spec("yolov3_tiny")
    save_model(tmp_path / "model.pt", small_model(other), other)
    with pytest.raises(ModelFileError, match=r"model\.pt: is a .*yolov3_tiny"):
        initialise(build(SPEC), SPEC, str(tmp_path / "model.pt"), CONFIG)


def test_imagenet_needs_a_published_width_and_a_backbone() -> None:
    with pytest.raises(ConfigError, match=r"width 1\.0"):
        initialise(build(SPEC), SPEC, "imagenet", CONFIG)
    yolo = small_spec("yolov3_tiny")
    with pytest.raises(ConfigError, match="no published weights"):
        initialise(build(yolo), yolo, "imagenet", CONFIG)


def full_width() -> DetectorSpec:
    return replace(SPEC, network=replace(SPEC.network, width=1.0))


def test_offline_names_the_file_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = full_width()
    with pytest.raises(NotRunError) as caught:
        initialise(build(spec), spec, "imagenet", CONFIG)
    for word in ("mobilenet_v2-b0353104.pth", "no route to host", "--init FILE"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_published_weights_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = torchvision.models.mobilenet_v2()
    weights = type(torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1)
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: source.state_dict())
    spec = full_width()
    model = build(spec)
    report = initialise(model, spec, "imagenet", CONFIG)
    assert "folded" in str(report)
    scale = torch.tensor([0.5 / s for s in IMAGENET_STD])[None, :, None, None]
    assert torch.allclose(model.backbone.features[0][0].weight, source.features[0][0].weight * scale)


def test_a_published_file_is_known_by_its_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(tmp_path, classifier().state_dict())
    assert "folded" not in str(initialise(build(SPEC), SPEC, path, CONFIG))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    class Row:
        url = f"somewhere/mobilenet_v2-{digest[:8]}.pth"
        transforms = staticmethod(lambda: SimpleNamespace(mean=list(IMAGENET_MEAN)))

    monkeypatch.setattr(module.torchvision.models, "get_model_weights", lambda _: [Row()])
    assert "folded" in str(initialise(build(SPEC), SPEC, path, CONFIG))


def test_the_shared_imagenet_backbone(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenet_v2_imagenet_torchvision.pth"
    spec = full_width()
    model = build(spec)
    report = initialise(model, spec, str(path), CONFIG)
    assert report.loaded == sum(1 for key in load_torch_file(path) if key.startswith("features."))
    assert "folded" not in str(report)  # it was trained on RGB / 127.5 - 1, which is our own input


def test_the_shared_v3_backbone_with_its_eps(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenet_v3_small_reducedtail_coco_backbone.pth"
    base = small_spec("ssdlite_mobilenet_v3_small")
    spec = replace(base, network=replace(base.network, width=1.0, reduced_tail=True))
    model = build(spec).eval()
    initialise(model, spec, str(path), CONFIG.model_copy(update={"init_norm_eps": 1e-5}))
    exact = torchvision.models.mobilenet_v3_small(reduced_tail=True).eval()
    for norm in exact.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-5
    features = {k.removeprefix("features."): v for k, v in load_torch_file(path).items() if k.startswith("features.")}
    exact.features.load_state_dict(features)  # type: ignore[arg-type]
    x = torch.rand(1, 3, 96, 128) * 2 - 1
    with torch.no_grad():
        expected = exact.features(x)
        assert torch.allclose(model.backbone(x)[1], expected, atol=2e-3 * float(expected.abs().max()))


def test_ssd300_starts_from_vgg16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At width 1 in shape only: dense layers are thinned out as the paper says, and conv5 goes on behind conv4."""
    spec = small_spec("ssd300", network=NetworkSpec("ssd300"))
    torch.manual_seed(0)
    source = torchvision.models.vgg16()
    state = dict(source.state_dict())
    monkeypatch.setattr(module, "load_torch_file", lambda path: dict(state))
    monkeypatch.setattr(module, "_is_published", lambda path, spec: True)
    model = build(spec)
    report = initialise(model, spec, "vgg16.pth", CONFIG)
    assert report.loaded == 2 * 15
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # the border sees the padding
    with torch.no_grad():
        wanted = source.features[:9](imagenet_input(pixels))[inside]
        ours = model.backbone.features[:9](normalise(pixels, spec.input))[inside]
        assert torch.allclose(ours, wanted, atol=1e-5)
        conv4 = torch.rand(1, 512, 6, 6)
        assert torch.allclose(model.backbone.extra[0][:7](conv4), source.features[23:30](conv4), atol=1e-5)
    fc6 = source.classifier[0].weight.reshape(4096, 512, 7, 7)
    kept = model.backbone.extra[0][7][1].weight
    assert torch.equal(kept[5, 9], torch.stack([fc6[20, 9, row, ::3] for row in (0, 3, 6)]))
    assert torch.equal(model.backbone.extra[0][7][3].weight[3, 7, 0, 0], source.classifier[3].weight[12, 28])

    state.pop("features.28.weight")
    with pytest.raises(ModelFileError, match=r"not weights of VGG-16 .*features\.28\.weight"):
        initialise(model, spec, "vgg16.pth", CONFIG)


def test_a_model_of_another_normalisation_names_what_to_set(tmp_path: Path) -> None:
    """As imports from torchvision have it."""
    other = replace(
        SPEC, input=replace(SPEC.input, std=57.7), network=replace(SPEC.network, input_shift=(0.5, 0.0, 1.0))
    )
    save_model(tmp_path / "other.pt", build(other), other)
    message = r"network\.input_shift.*--set network\.input_shift=\[0\.5,0\.0,1\.0\] --set input\.std=57\.7"
    with pytest.raises(ModelFileError, match=message):
        initialise(build(SPEC), SPEC, str(tmp_path / "other.pt"), CONFIG)
