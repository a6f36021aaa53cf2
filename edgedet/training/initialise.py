"""Starting weights: torchvision's published classifiers, a file of one, or an earlier model.pt."""

from __future__ import annotations

import hashlib
import json
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from edgedet.config import TrainingConfig
from edgedet.errors import ConfigError, ModelFileError, NotRunError
from edgedet.model_file import KIND, load_torch_file
from edgedet.models import BACKBONES
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, spec_field_names
from edgedet.training import initialise_vgg

# Statistics of torchvision's published classifiers (torchvision.transforms._presets.ImageClassification), in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BACKBONE, _FEATURES = "backbone.", "features."
_VGG_HEAD, _VGG = "ssd300", "vgg16"  # the head whose network brings its own backbone, and torchvision's name of that


@dataclass(frozen=True)
class InitReport:
    """What was loaded, for the user."""

    source: str
    loaded: int
    total: int
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"Starting from {self.source}: {self.loaded} of {self.total} tensors loaded{note}"


def initialise(model: nn.Module, spec: DetectorSpec, init: str, config: TrainingConfig) -> InitReport:
    """Load starting weights into a network, in place.

    Args:
        init: "imagenet", or the path of a torchvision state dict or of a model.pt.

    Raises:
        ModelFileError: the file is missing, damaged or belongs to another network.
        ConfigError: there are no published weights for this network.
        NotRunError: the published weights cannot be downloaded.
    """
    if init == "imagenet":
        weights = _published(spec)
        state = _download(weights)
        load = _load_vgg16 if spec.network.head == _VGG_HEAD else _load_backbone
        return load(model, spec, state, weights.url, config, per_channel=True)
    path = Path(init)
    content = load_torch_file(path)
    if content.get("kind") == KIND:
        return _load_model(model, spec, content, path)
    state = _state_dict(content, path)
    load = _load_vgg16 if spec.network.head == _VGG_HEAD else _load_backbone
    return load(model, spec, state, init, config, per_channel=_is_published(path, spec))


def fold_normalisation(state: dict[str, Tensor], first_conv: str, first_norm: str, image: InputSpec) -> None:
    """Rewrite a backbone trained on per-channel (value / 255 - mean) / std for one mean and std, in place.

    The scale goes into the first convolution; the shift is a constant before the first batch norm and goes into its
    running mean. Exact but for the border, where padding with 0 now means `image.mean`.
    """
    weight = state[first_conv]
    mean, std = weight.new_tensor(IMAGENET_MEAN), weight.new_tensor(IMAGENET_STD)
    scale = image.std / 255 / std
    shift = (image.mean / 255 - mean) / std
    state[first_norm + ".running_mean"] = state[first_norm + ".running_mean"] - (weight.sum(dim=(2, 3)) @ shift)
    state[first_conv] = weight * scale[None, :, None, None]


def _load_backbone(
    model: nn.Module,
    spec: DetectorSpec,
    state: dict[str, Tensor],
    source: str,
    config: TrainingConfig,
    per_channel: bool,
) -> InitReport:
    """Copy `features.*` of a classifier; its own last layers are of no use here."""
    if not spec.network.backbone:
        raise ConfigError(f"network.head {spec.network.head!r} has no torchvision backbone to load {source} into",
                          "Give a model.pt of the same network, or leave --init out.")  # fmt: skip
    backbone = cast(nn.Module, model.backbone)
    row = BACKBONES[spec.network.backbone]
    wanted = backbone.state_dict()
    given = {
        _FEATURES + key.removeprefix(_BACKBONE).removeprefix(row.prefix): value.float()
        if value.is_floating_point()
        else value
        for key, value in state.items()
    }
    given = {key: value for key, value in given.items() if key in wanted}
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    wrong = [key for key, value in given.items() if value.shape != wanted[key].shape]
    if missing or wrong:
        key = (missing + wrong)[0]
        what = "is missing" if missing else f"has shape {tuple(given[key].shape)}, not {tuple(wanted[key].shape)}"
        raise ModelFileError(
            f"{source}: not weights of {spec.network.backbone} at width {spec.network.width} ({key} {what})",
            "Give weights of this backbone, or change network.backbone, network.width or network.reduced_tail.",
        )
    note = ""
    folded = per_channel if config.init_normalisation == "auto" else config.init_normalisation == "imagenet"
    if folded:
        fold_normalisation(given, f"{_FEATURES}{row.first_conv}.weight", _FEATURES + row.first_norm, spec.input)
        note = "per-channel ImageNet normalisation folded into the first convolution"
    if config.init_norm_eps is not None:
        _change_eps(backbone, given, config.init_norm_eps)
    backbone.load_state_dict(given, strict=False)
    return InitReport(source, len(given), len(model.state_dict()), note)


def _load_vgg16(
    model: nn.Module,
    spec: DetectorSpec,
    state: dict[str, Tensor],
    source: str,
    config: TrainingConfig,
    per_channel: bool,
) -> InitReport:
    """The same for SSD300, whose backbone goes on with what were VGG-16's dense layers."""
    own = model.state_dict()
    remedy = "Give torchvision's vgg16, and leave network.width at 1."
    try:
        given = initialise_vgg.from_vgg16({key: value.float() for key, value in state.items()})
    except (KeyError, RuntimeError) as error:
        raise ModelFileError(f"{source}: not weights of VGG-16 ({error} does not fit)", remedy) from error
    if wrong := [key for key, value in given.items() if value.shape != own[key].shape]:
        key, found, wanted = wrong[0], tuple(given[wrong[0]].shape), tuple(own[wrong[0]].shape)
        raise ModelFileError(
            f"{source}: not weights of VGG-16 at width {spec.network.width} ({key} has shape {found}, not {wanted})",
            remedy,
        )
    note = ""
    if per_channel if config.init_normalisation == "auto" else config.init_normalisation == "imagenet":
        first, image = initialise_vgg.FIRST, spec.input
        weight = given[f"{first}.weight"]
        mean, std = weight.new_tensor(IMAGENET_MEAN), weight.new_tensor(IMAGENET_STD)
        shift = (image.mean / 255 - mean) / std
        given[f"{first}.bias"] = given[f"{first}.bias"] + weight.sum(dim=(2, 3)) @ shift
        given[f"{first}.weight"] = weight * (image.std / 255 / std)[None, :, None, None]
        note = "per-channel ImageNet normalisation folded into the first convolution"
    model.load_state_dict(given, strict=False)
    return InitReport(source, len(given), len(own), note)


def _change_eps(backbone: nn.Module, state: dict[str, Tensor], assumed_eps: float) -> None:
    """Scale batch norms so that weights made for one eps compute the same under the network's own."""
    for name, norm in backbone.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            variance = state[f"{name}.running_var"]
            state[f"{name}.weight"] = (
                state[f"{name}.weight"] * ((variance + norm.eps) / (variance + assumed_eps)).sqrt()
            )


def _load_model(model: nn.Module, spec: DetectorSpec, content: Mapping[str, object], path: Path) -> InitReport:
    """Copy every tensor of an earlier detector that has the same name and shape."""
    earlier = DetectorSpec.from_json(str(content.get("spec")), str(path))
    differing = _differing(earlier, spec)
    if {name for name, _, _ in differing} & {"network.head", "network.backbone", "network.layers", "coding.kind"}:
        raise ModelFileError(
            f"{path}: is a {earlier.network}, not a {spec.network}", "Give a model.pt of the same network and coding."
        )
    if differing:
        field, theirs, ours = differing[0]
        changes = " ".join(f"--set {name}={json.dumps(value, separators=(',', ':'))}" for name, value, _ in differing)
        raise ModelFileError(
            f"{path}: was made with {field} {theirs!r}, this configuration has {ours!r}",
            f"Give a model.pt of the same network, coding and normalisation, or train with {changes}.",
        )
    own = model.state_dict()
    given = _state_dict(dict(content), path)
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    left = sorted({key.split(".")[0] for key in own if key not in fitting})
    model.load_state_dict(fitting, strict=False)
    note = f"new: layers of {', '.join(left)} whose number of classes or priors differs" if left else ""
    return InitReport(str(path), len(fitting), len(own), note)


def _differing(earlier: DetectorSpec, spec: DetectorSpec) -> list[tuple[str, object, object]]:
    """Fields that weights depend on, with both values, where they differ."""
    fields = [
        *(("network", field) for field in spec_field_names(NetworkSpec)),
        *(("coding", field) for field in spec_field_names(CodingSpec)),
        ("input", "mean"),
        ("input", "std"),
    ]
    pairs = [(f"{p}.{f}", getattr(getattr(earlier, p), f), getattr(getattr(spec, p), f)) for p, f in fields]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _state_dict(content: dict[str, object], path: Path) -> dict[str, Tensor]:
    """The tensors of a file, bare or under "state_dict" or "model"."""
    for wrapper in ("state_dict", "model"):
        if isinstance(content.get(wrapper), Mapping):
            content = dict(cast(Mapping[str, object], content[wrapper]))
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelFileError(f"{path}: holds no weights", "Give a torchvision state dict or a model.pt of edgedet.")
    return tensors


def _torchvision_name(spec: DetectorSpec) -> str:
    """Name under which torchvision publishes the classifier that the backbone is a part of; "" where it does not."""
    if spec.network.head == _VGG_HEAD:
        return _VGG
    return BACKBONES[spec.network.backbone].torchvision if spec.network.backbone else ""


def _published(spec: DetectorSpec) -> torchvision.models.WeightsEnum:
    network = spec.network
    published = _torchvision_name(spec)
    if not published:
        name = network.backbone or network.head
        raise ConfigError(f"--init imagenet: there are no published weights for {name}", "Leave --init out.")
    if network.width != 1.0 or network.reduced_tail:
        raise ConfigError(
            f"--init imagenet: torchvision publishes {published} at width 1.0 with its full tail only",
            "Set network.width to 1.0 and network.reduced_tail to false, or leave --init out.",
        )
    return torchvision.models.get_model_weights(published)["IMAGENET1K_V1"]


def _download(weights: torchvision.models.WeightsEnum) -> dict[str, Tensor]:
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, urllib.error.URLError, RuntimeError) as error:
        reason = str(getattr(error, "reason", error))
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise NotRunError(
            f"--init imagenet: {weights.url} cannot be downloaded ({reason})",
            f"Fetch that file on another machine and pass it with --init FILE, or put it into {folder}.",
        ) from error


def _is_published(path: Path, spec: DetectorSpec) -> bool:
    """Whether torchvision publishes this file for the backbone: published names end in the digest's first digits."""
    published = _torchvision_name(spec)
    if not published:
        return False
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = torchvision.models.get_model_weights(published)
    known = [row for row in rows if tuple(row.transforms().mean) == IMAGENET_MEAN]
    return any(digest.startswith(Path(row.url).stem.rsplit("-", 1)[-1]) for row in known)
