"""One step: batches put together, parts that do not learn, and numbers that are no longer finite."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgedet.config import Config
from edgedet.decode import RawHeads
from edgedet.errors import EdgedetError
from edgedet.models import build
from edgedet.training.finite import GPU_STEPS, FiniteCheck
from edgedet.training.parts import norms_of, parameters_of, part_of
from edgedet.training.step import Batch, TrainStep
from edgedet.training.targets import pad_objects
from tests.small_models import SPECS, small_spec
from tests.training.helpers import PLAIN, batch, objects, tiny_config

FREEZE = ("training.freeze=backbone", "training.freeze_epochs=1")


def make_step(name: str, *changes: str) -> TrainStep:
    spec = small_spec(name)
    config: Config = tiny_config(*changes).model_copy(update={"input": spec.input})
    torch.manual_seed(0)
    return TrainStep(Fabric(accelerator="cpu", devices=1), build(spec), spec, config)


def joined(*batches: Batch) -> Batch:
    objects_of = [
        objects(boxes[ids >= 0].tolist(), ids[ids >= 0].tolist())
        for _, targets in batches
        for boxes, ids in zip(targets.boxes_xyxy_unit, targets.class_ids, strict=True)
    ]
    return torch.cat([pixels for pixels, _ in batches]), pad_objects(objects_of)


def weights(step: TrainStep) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in step.network.state_dict().items()}


@pytest.mark.parametrize("counts", [((1,), (4,)), ((2,), (0,)), ((0,), (0,))])
def test_accumulated_batches_have_the_gradient_of_one_large_batch(counts: tuple[tuple[int, ...], ...]) -> None:
    """SSD300 has no batch norm. The loss is per positive prior, of which the batches have different numbers."""
    parts = [batch("ssd300", *count, seed=k) for k, count in enumerate(counts)]
    large, small = make_step("ssd300", *PLAIN), make_step("ssd300", *PLAIN, "training.accumulate=2")
    before = weights(large)
    large([joined(*parts)], lr=1e-2)
    small(parts, lr=1e-2)
    moved = max(float((weights(large)[name] - value).abs().max()) for name, value in before.items())
    assert moved > 1e-4
    for name, value in weights(large).items():
        torch.testing.assert_close(weights(small)[name], value, atol=1e-5 * moved, rtol=0, msg=name)


def learn(step: TrainStep, name: str) -> set[str]:
    """One step; the tensors that it changed."""
    before = weights(step)
    step([batch(name, 1, 2, 1)], lr=1e-2)
    return {key for key, value in weights(step).items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "yolov3_tiny"])
@pytest.mark.parametrize("fast", ["true", "false"])
def test_a_frozen_backbone_keeps_weights_and_statistics_until_it_thaws(name: str, fast: str) -> None:
    step = make_step(name, *FREEZE, f"training.fast_kernels={fast}")
    known = {id(p) for group in step.optimiser.param_groups for p in group["params"]}
    assert known == {id(p) for part in ("neck", "head") for p in parameters_of(step.network, part)}
    changed = learn(step, name)
    assert {part_of(step.network, key) for key in changed} == {"neck", "head"}
    assert any("running_mean" in key for key in changed)  # the neck's norms do learn

    step.thaw()
    changed = learn(step, name)
    assert {part_of(step.network, key) for key in changed} == {"backbone", "neck", "head"}
    learning = list(step.network.parameters())
    assert sorted(id(p) for g in step.optimiser.param_groups for p in g["params"]) == sorted(map(id, learning))


def test_frozen_batch_norms_learn_but_count_nothing() -> None:
    step = make_step("ssdlite_mobilenet_v2", "training.batch_norm=frozen", "training.fast_kernels=false")
    changed = {key for key in learn(step, "ssdlite_mobilenet_v2") if part_of(step.network, key) == "backbone"}
    assert any(key.endswith("weight") for key in changed)
    assert not any("running" in key or "tracked" in key for key in changed)


def test_frozen_batch_norms_make_batches_of_one_equal_to_a_large_one() -> None:
    """All of YOLO's norms but the neck's are frozen; those of the neck are set to rest here as well."""
    parts = [batch("yolov3_tiny", count, seed=count) for count in (1, 3)]
    steps = [make_step("yolov3_tiny", *PLAIN, "training.batch_norm=frozen", f"training.accumulate={n}") for n in (1, 2)]
    for step, batches in zip(steps, ([joined(*parts)], parts), strict=True):
        for norm in norms_of(step.network, "neck"):
            norm.eval()
        step(batches, lr=1e-2)
    for name, value in weights(steps[0]).items():
        torch.testing.assert_close(weights(steps[1])[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_each_part_has_its_own_learning_rate() -> None:
    changes = ("training.lr_factor.backbone=0.1", "training.lr_factor.head=3")
    step = make_step("retinanet_resnet50", *changes)
    step([batch("retinanet_resnet50", 1)], lr=0.02)
    rates = {id(p): group["lr"] for group in step.optimiser.param_groups for p in group["params"]}
    wanted = {"backbone": 0.002, "neck": 0.02, "head": 0.06}
    for name, parameter in step.network.named_parameters():
        assert rates[id(parameter)] == pytest.approx(wanted[part_of(step.network, name)]), name


@pytest.mark.parametrize("name", SPECS)
def test_every_network_has_its_parts(name: str) -> None:
    model = build(SPECS[name])
    sizes = {part: sum(p.numel() for p in parameters_of(model, part)) for part in ("backbone", "neck", "head")}
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters())
    assert sizes["backbone"] > 0
    assert sizes["head"] > 0


@pytest.mark.parametrize(
    ("network", "name", "part"),
    [
        ("ssd300", "backbone.features.0.weight", "backbone"),
        ("ssd300", "backbone.extra.0.5.1.weight", "backbone"),  # fc6
        ("ssd300", "backbone.extra.1.0.weight", "neck"),
        ("ssd300", "backbone.scale_weight", "neck"),
        ("ssd300", "box_heads.0.weight", "head"),
        ("retinanet_resnet50", "pyramid.inner.0.weight", "neck"),
        ("ssdlite_mobilenet_v2", "extras.0.0.0.weight", "neck"),
        ("yolov3_tiny", "body.layers.14.0.weight", "backbone"),
        ("yolov3_tiny", "body.layers.18.0.weight", "neck"),
        ("yolov1", "connected.1.weight", "neck"),
    ],
)
def test_parts_by_name(network: str, name: str, part: str) -> None:
    assert part_of(build(SPECS[network]), name) == part


def test_numbers_on_a_gpu_are_looked_at_now_and_then() -> None:
    check = FiniteCheck(torch.device("cuda"))  # the tensors may lie anywhere
    for step in range(GPU_STEPS - 1):
        check.add("loss", torch.tensor(float("inf") if step == 2 else -1.0))
    with pytest.raises(EdgedetError, match=r"the loss became inf.*training\.lr"):
        check.add("loss", torch.tensor(1.0))
    check = FiniteCheck(torch.device("cuda"))
    check.add("gradient", torch.tensor(float("nan")))
    with pytest.raises(EdgedetError, match="the gradient became nan"):
        check.look()


def test_numbers_on_a_cpu_are_looked_at_at_once() -> None:
    check = FiniteCheck(torch.device("cpu"))
    check.add("loss", torch.tensor(1e38))
    check.add("loss", torch.tensor(3e38))  # their sum would be infinite
    with pytest.raises(EdgedetError, match="the loss became nan"):
        check.add("loss", torch.tensor(float("nan")))


def test_gradients_that_are_not_finite_stop_a_run() -> None:
    step = make_step("ssdlite_mobilenet_v2", "training.fast_kernels=false")

    class Cliff(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            return grad * float("inf")

    loss: nn.Module = step.loss
    step.loss = lambda raw, targets: loss(RawHeads(Cliff.apply(raw.box_codes), raw.logits), targets)  # type: ignore[assignment]
    with pytest.raises(EdgedetError, match=r"the gradient became"):
        step([batch("ssdlite_mobilenet_v2", 1, 1)], lr=1e-3)


@pytest.mark.parametrize("fast", ["true", "false"])
def test_a_batch_too_small_for_batch_norm_is_one_clear_line(fast: str) -> None:
    with pytest.raises(EdgedetError, match=r"one image.*training\.batch_size"):
        make_step("ssdlite_mobilenet_v2", f"training.fast_kernels={fast}")([batch("ssdlite_mobilenet_v2", 1)], lr=1e-3)
