"""Learning from the float network: the distance by hand, and a network that comes back to its teacher."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from edgedet.config import Config
from edgedet.decode import Decoder, RawHeads
from edgedet.models import build
from edgedet.training.imitation import ImitatingStep, imitation_losses
from edgedet.training.step import TrainStep
from tests.small_models import SPECS, small_spec
from tests.training.helpers import PLAIN, batch, tiny_config

SSD, SIGMOID = "ssdlite_mobilenet_v2", "retinanet_lite_mobilenet_v1"


def raw_of(spec_name: str, seed: int) -> RawHeads:
    spec, generator = SPECS[spec_name], torch.Generator().manual_seed(seed)
    columns = spec.num_classes + spec.coding.extra_logits
    shape = (2, spec.num_priors)
    return RawHeads(torch.randn(*shape, 4, generator=generator), torch.randn(*shape, columns, generator=generator))


def test_the_distance_by_hand() -> None:
    """One prior says 0.5 and (1, 0, -1, 0) where the teacher says 0.8 and zeros; variances are 0.1 and 0.2.

    Class: 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.376003 - 0.183258. Box: 0.8 (0.1 + 0.2).
    """
    spec = SPECS[SIGMOID]
    spec = replace(spec, coding=replace(spec.coding, variances=(0.1, 0.1, 0.2, 0.2)))
    n, c = spec.num_priors, spec.num_classes
    low = torch.full((1, n, c), -60.0)  # both are sure that there is nothing else
    ours, theirs, codes = low.clone(), low.clone(), torch.zeros(1, n, 4)
    ours[0, 7, 1], theirs[0, 7, 1] = 0.0, torch.logit(torch.tensor(0.8))
    moved = codes.clone()
    moved[0, 7] = torch.tensor((1.0, 0.0, -1.0, 0.0))
    parts = imitation_losses(Decoder(spec), RawHeads(moved, ours), RawHeads(codes, theirs))
    assert float(parts["like_class"]) == pytest.approx(0.192745, abs=1e-5)
    assert float(parts["like_box"]) == pytest.approx(0.24, abs=1e-5)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_nothing_is_lost_between_equals_and_something_between_others(name: str) -> None:
    decoder, ours, theirs = Decoder(SPECS[name]), raw_of(name, 0), raw_of(name, 1)
    assert all(float(value) == 0 for value in imitation_losses(decoder, ours, ours).values())
    assert all(float(value) > 0 for value in imitation_losses(decoder, ours, theirs).values())


def test_where_the_teacher_sees_nothing_boxes_are_free() -> None:
    ours, theirs = raw_of(SIGMOID, 0), raw_of(SIGMOID, 1)
    nothing = RawHeads(theirs.box_codes, torch.full_like(theirs.logits, -60.0))
    assert float(imitation_losses(Decoder(SPECS[SIGMOID]), ours, nothing)["like_box"]) < 1e-2


@pytest.mark.parametrize("logit", [200.0, -200.0])
def test_certainty_has_a_finite_price_and_gradient(logit: float) -> None:
    raw = raw_of(SIGMOID, 0)
    ours = torch.full_like(raw.logits, logit, requires_grad=True)
    parts = imitation_losses(
        Decoder(SPECS[SIGMOID]), RawHeads(raw.box_codes, ours), RawHeads(raw.box_codes, -ours.detach())
    )
    parts["like_class"].backward()
    assert torch.isfinite(parts["like_class"])
    assert ours.grad is not None
    assert torch.isfinite(ours.grad).all()


def imitating(share: float, teacher: nn.Module, student: nn.Module, *changes: str) -> ImitatingStep:
    fabric = Fabric(accelerator="cpu", devices=1)
    return ImitatingStep(fabric, student, small_spec(SSD), config_of(*changes), teacher=teacher, share=share)


def config_of(*changes: str) -> Config:
    return tiny_config(*PLAIN, *changes).model_copy(update={"input": small_spec(SSD).input})


def networks() -> tuple[nn.Module, nn.Module]:
    """A teacher, and the same with its class heads disturbed."""
    torch.manual_seed(0)
    teacher = build(small_spec(SSD)).eval()
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for name, value in student.named_parameters():
            if "class_heads" in name and name.endswith("bias"):
                value.add_(torch.randn_like(value))
    return teacher, student


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_network_comes_back_to_its_teacher_which_does_not_move() -> None:
    teacher, student = networks()
    before = state(teacher)
    step = imitating(1.0, teacher, student, "training.batch_norm=frozen")
    step.network.eval()
    lost = [float(step([batch(SSD, 2, 1)], lr=0.001)["like_class"]) for _ in range(30)]
    assert lost[-1] < 0.2 * lost[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_the_share_weighs_labels_against_the_teacher() -> None:
    pixels, targets = batch(SSD, 2, 1)
    parts = {}
    for share in (0.0, 0.25, 1.0):
        step = imitating(share, *networks())
        with torch.no_grad():
            parts[share] = step.losses(step.forward(pixels), targets)
    plain = TrainStep(Fabric(accelerator="cpu", devices=1), networks()[1], small_spec(SSD), config_of())
    with torch.no_grad():
        labels = plain.losses(plain.forward(pixels), targets)
    for name in ("box", "class"):
        assert float(parts[0.0][name]) == pytest.approx(float(labels[name]), rel=1e-5)
        assert float(parts[0.25][name]) == pytest.approx(0.75 * float(labels[name]), rel=1e-5)
        assert float(parts[1.0][name]) == 0
        like = f"like_{name}"
        assert float(parts[0.0][like]) == 0
        assert float(parts[0.25][like]) == pytest.approx(0.25 * float(parts[1.0][like]), rel=1e-5)
    assert parts[0.25].positives == labels.positives > 0
