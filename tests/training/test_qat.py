"""Quantization-aware training on a tiny data set: ranges, gradients, resuming, what is saved, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import edgedet.cli as cli
from edgedet.config import Config
from edgedet.data import read_dataset
from edgedet.errors import ConfigError, EdgedetError
from edgedet.export.deployable import Deployable
from edgedet.formats import load
from edgedet.model_file import load_model, load_torch_file, save_model
from edgedet.preprocess import normalise
from edgedet.quantization import IMAGE, simulate
from edgedet.quantization.ranges import attach_ranges, ranges_of
from edgedet.training import step as step_module
from edgedet.training import train
from edgedet.training.loop import Run
from edgedet.training.qat import calibration_batches
from tests.small_models import SPECS, small_model
from tests.training.helpers import tiny_config, tiny_data

V2, V3, YOLO = "ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_small", "yolov3_tiny"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("qat"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_config("training.epochs=1"), data, tmp_path_factory.mktemp("trained") / "run", device="cpu")


def config_of(name: str, *changes: str) -> Config:
    """The tiny configuration with the network of a small model."""
    network = SPECS[name].network
    base = "demo" if name != YOLO else "tiny_yolov3"
    backbone = f"network.backbone='{network.backbone}'"
    return tiny_config(backbone, f"network.width={network.width}", "input.width=128", *changes, base=base)


def qat(name: str, data: Path, folder: Path, *changes: str) -> tuple[Path, Path]:
    """(the float model, its tuned one)."""
    spec = SPECS[name]
    config = config_of(name, "qat.epochs=1", "qat.calibration_images=8", "training.batch_size=4", *changes)
    spec = replace(spec, input=config.input, network=config.network, coding=config.coding)
    save_model(folder / "float.pt", small_model(spec), spec)
    return folder / "float.pt", train(config, data, folder / "run", device="cpu", qat=folder / "float.pt")


def raw_of(model: torch.nn.Module, pixels: torch.Tensor, path: Path) -> torch.Tensor:
    _, spec = load_model(path)
    with torch.no_grad():
        logits: torch.Tensor = model(normalise(pixels, spec.input)).logits
    return logits


@pytest.mark.parametrize("name", [V2, V3, YOLO])
def test_a_tuned_model_loads_like_any_other_and_brings_its_ranges(data: Path, tmp_path: Path, name: str) -> None:
    before, after = qat(name, data, tmp_path)
    old, spec = load_model(before)
    new, _ = load_model(after)
    assert set(old.state_dict()) == set(new.state_dict())
    assert ranges_of(old) == {}
    assert Deployable(old, spec).activation_ranges == {}
    ranges = Deployable(new, spec).activation_ranges
    layers = simulate(old, spec).layer_names
    assert set(layers) < set(ranges)
    assert all(low <= 0 <= high and low < high for low, high in ranges.values())
    folded_old, folded_new = (Deployable(model, spec).network.state_dict() for model in (old, new))
    body = [key for key in folded_old if key.startswith(("backbone.", "body."))]
    assert not any(torch.equal(folded_old[key], folded_new[key]) for key in body)  # each weight and bias has learned
    pixels = torch.randint(
        0, 256, (2, 3, spec.input.height, spec.input.width), generator=torch.Generator().manual_seed(0)
    )
    was, now = raw_of(old, pixels, before), raw_of(new, pixels, after)
    assert 0 < float((was - now).std()) < 0.3 * float(was.std())  # tuned, not trained anew
    assert load(after).spec == spec


def test_ranges_follow_the_batches_and_then_stay(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    original = step_module.TrainStep.update

    def note(self: Any, lr: float) -> None:
        original(self, lr)
        seen.append(float(dict(self.network.named_buffers())["body.layers.4.2.output_quantizer.range_min_max"][1]))

    monkeypatch.setattr(step_module.TrainStep, "update", note)
    changes = ("qat.freeze_ranges_at=0.5", "qat.observer=moving_average")
    qat(YOLO, data, tmp_path, *changes)  # 6 steps; the steps at shares 0, 1/6, 2/6 are observed
    assert len(set(seen[:3])) == 3
    assert len(set(seen[2:])) == 1


def test_unless_asked_otherwise_the_calibrated_ranges_stay(data: Path, tmp_path: Path) -> None:
    """Of the integer network's own tensors; what only a later layer rounds comes without augmentation, too."""
    before, after = qat(V2, data, tmp_path)
    old, spec = load_model(before)
    config = config_of(V2)
    simulated = simulate(old, spec, config.qat.observer)
    simulated.observe(calibration_batches(read_dataset(data, config.training.train_split), spec, 8))
    simulated.choose()
    found, wanted = ranges_of(load_model(after)[0]), simulated.ranges()
    assert set(found) == set(wanted)
    assert all(found[name] == pytest.approx(pair, rel=1e-4) for name, pair in wanted.items())


def test_it_computes_in_float32_unless_asked_otherwise() -> None:
    assert tiny_config("training.precision=bf16").for_qat().training.precision == "32"
    assert tiny_config("qat.precision=bf16").for_qat().training.precision == "bf16"


def test_the_record_is_of_the_integer_network(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = Run._validate

    def look(self: Run) -> Any:
        spec = self.spec
        pixels = torch.rand(1, 3, spec.input.height, spec.input.width) * 2 - 1
        with torch.no_grad():
            outputs = self.step.average.model.class_heads[0](self.step.average.model.body(pixels)[0])  # type: ignore[index,operator]
        seen.append(len(outputs.unique()))
        return original(self)

    monkeypatch.setattr(Run, "_validate", look)
    qat(YOLO, data, tmp_path, "training.val_split=val")
    assert 1 < seen[0] <= 256


def test_interrupted_and_resumed_equals_uninterrupted(
    data: Path, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("qat.epochs=2", "qat.calibration_images=8")
    train(config, data, tmp_path / "whole", device="cpu", qat=trained)
    original, steps = step_module.TrainStep.__call__, 0

    def stop(self: Any, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(step_module.TrainStep, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "parts", device="cpu", qat=trained)
    monkeypatch.undo()
    assert ranges_of(load_model(tmp_path / "parts" / "model.pt")[0])  # what the first epoch learned can be used
    torch.manual_seed(99)
    with pytest.raises(ConfigError, match="another configuration"):
        train(config, data, tmp_path / "parts", device="cpu", resume=True)  # it is no plain run
    with pytest.raises(EdgedetError, match=r"gone\.pt: there is no such file"):  # its teacher
        train(config, data, tmp_path / "parts", device="cpu", resume=True, qat=tmp_path / "gone.pt")
    model, spec = load_model(trained)
    save_model(tmp_path / "other.pt", model, replace(spec, name="another"))
    with pytest.raises(ConfigError, match=r"other\.pt: is not the model that the run in --out began with"):
        train(config, data, tmp_path / "parts", device="cpu", resume=True, qat=tmp_path / "other.pt")
    train(config, data, tmp_path / "parts", device="cpu", resume=True, qat=trained)
    whole, parts = (load_torch_file(tmp_path / name / "model.pt") for name in ("whole", "parts"))
    assert whole["activation_ranges"] == parts["activation_ranges"]
    assert all(torch.equal(value, parts["state_dict"][key]) for key, value in whole["state_dict"].items())  # type: ignore[index,attr-defined]


def test_labels_alone_need_no_float_network_to_resume(data: Path, tmp_path: Path, trained: Path) -> None:
    config = tiny_config("qat.epochs=1", "qat.calibration_images=8", "qat.imitation=0")
    train(config, data, tmp_path / "run", device="cpu", qat=trained)
    parts = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["loss_parts"]
    assert set(parts) == {"box", "class"}
    train(config, data, tmp_path / "run", device="cpu", resume=True, qat=tmp_path / "gone.pt")


def test_the_command(data: Path, tmp_path: Path, trained: Path) -> None:
    sets = ("network.width=0.2", "input.height=96", "input.width=96", "training.batch_size=8", "training.workers=0",
            "training.val_split=''", "training.precision='32'", "qat.epochs=1", "qat.calibration_images=8")  # fmt: skip
    words = [word for change in sets for word in ("--set", change)]
    common = ["train", "demo", "--data", str(data), "--device", "cpu", "--qat", str(trained)]
    assert cli.main([*common, "--out", str(tmp_path / "run"), *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 1
    assert rows[0]["lr"] < 1e-4


def test_what_each_field_refuses() -> None:
    for change, words in {
        "qat.lr=0": r"qat\.lr is 0.*greater than 0",
        "qat.freeze_ranges_at=2": r"qat\.freeze_ranges_at is 2.*less than or equal to 1",
        "qat.imitation=1.5": r"qat\.imitation is 1.5.*less than or equal to 1",
        "qat.observer=mode": r"qat\.observer is 'mode'.*'minmax', 'moving_average' or 'percentile'",
        "qat.calibration_images=3": r"qat\.calibration_images is 3.*greater than or equal to 8",
        "qat.epoch=3": r"no field qat\.epoch.*Did you mean qat\.epochs",
    }.items():
        with pytest.raises(ConfigError, match=words):
            tiny_config(change)
    assert tiny_config("qat.epochs=3", "qat.minutes=2").for_qat().training.minutes == 2  # the one asked for last
    with pytest.raises(ConfigError, match=r"does not suit --qat: a run by the clock never repeats"):
        tiny_config("training.deterministic=true", "qat.minutes=2").for_qat()


def test_qat_is_another_run_than_training_and_changes_no_digest_of_training() -> None:
    digests = [tiny_config(*change).digest() for change in ((), ("qat.lr=0.1",))]
    assert digests[0] == digests[1]
    tuned = [tiny_config(*change).for_qat().digest() for change in ((), ("qat.freeze_ranges_at=0.1",))]
    assert len({*digests, *tuned}) == 3
    assert tiny_config().for_qat().training.epochs == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("network.width=0.3",), r"its network is not the configuration's \(width 0.2 there, 0.3 here\)"),
        (("input.std=100",), r"its input is not the configuration's \(std 127.5 there, 100.0 here\)"),
        (("training.train_split=nothing",), "nothing"),
    ],
)
def test_another_configuration_is_refused(
    data: Path, tmp_path: Path, trained: Path, changes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(EdgedetError, match=words):
        train(tiny_config(*changes), data, tmp_path / "run", device="cpu", qat=trained)
    assert not (tmp_path / "run").exists()


def test_other_refusals(data: Path, tmp_path: Path, trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"--init and --qat"):
        train(tiny_config(), data, tmp_path / "run", init="imagenet", device="cpu", qat=trained)
    spec = SPECS["retinanet_lite_mobilenet_v1"]
    save_model(tmp_path / "pyramid.pt", small_model(spec), spec)
    with pytest.raises(ConfigError, match=r"--qat does not know the network retinanet_lite.*export with --calibration"):
        train(tiny_config(), data, tmp_path / "run", device="cpu", qat=tmp_path / "pyramid.pt")
    model, spec = load_model(trained)
    save_model(tmp_path / "other.pt", model, replace(spec, class_names=("a", "b", "c")))
    with pytest.raises(ConfigError, match=r"its classes are not those of .*other.pt \(a, b, c\)"):
        train(tiny_config(), data, tmp_path / "run", device="cpu", qat=tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ([1], "are a list, not a dict"),
        ({"x": 1.0}, "'x' is not a pair"),
        ({"x": (0.5, 1.0)}, "no range around 0"),
        ({"x": (float("nan"), 1.0)}, "no range around 0"),
    ],
)
def test_damaged_ranges_are_one_clear_line(tmp_path: Path, trained: Path, ranges: object, words: str) -> None:
    torch.save(load_torch_file(trained) | {"activation_ranges": ranges}, tmp_path / "model.pt")
    with pytest.raises(EdgedetError, match=words):
        load_model(tmp_path / "model.pt")


def test_ranges_travel_with_copies_and_are_no_part_of_the_weights(trained: Path) -> None:
    model, _ = load_model(trained)
    keys = set(model.state_dict())
    attach_ranges(model, {IMAGE: (-1.0, 1.0)})
    assert ranges_of(copy.deepcopy(model)) == {IMAGE: (-1.0, 1.0)}
    assert set(model.state_dict()) == keys
