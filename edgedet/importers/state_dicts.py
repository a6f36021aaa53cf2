"""Files of torch that hold the weights of a detector in edgedet.importers.sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedet.errors import ModelFileError
from edgedet.importers.classifiers import classifier_of, training_command
from edgedet.importers.imported import Imported, numbered_labels, read_labels
from edgedet.importers.sources import SOURCES, Source, State
from edgedet.model_file import KIND, load_torch_file
from edgedet.models import build
from edgedet.spec import InputSpec

_WRAPPERS = ("model", "state_dict", "model_state_dict")  # what training programs put around a state dict
_COUNTER = "num_batches_tracked"
_REMEDY = "Give the complete file of a detector that is known here; `edgedet import --help` names them."


def import_state_dict(path: Path, labels: Path | None = None) -> Imported:
    """A state dict of a known detector.

    Raises:
        ModelFileError: not readable, of no known detector, or tensors are missing, too many or of other shapes.
    """
    state = _state(path)
    source = _recognise(state, path)
    rows = state[source.class_head].shape[0]
    if rows % source.anchors or rows // source.anchors < 2:
        raise ModelFileError(
            f"{path}: {source.class_head} has {rows} rows, a multiple of {source.anchors} anchors was expected", _REMEDY
        )
    names, note = _labels(labels, rows // source.anchors - 1)
    spec = source.spec(names)
    model = build(spec)
    if source.adapt:
        _adapt(state, source, spec.input, path)
    _fill(model, state, source, path)
    return Imported(model.eval(), spec, source.name, tuple(text for text in (note, source.note) if text))


def _state(path: Path) -> State:
    content = load_torch_file(path)
    if content.get("kind") == KIND:
        raise ModelFileError(f"{path}: is already a model.pt of edgedet", "Use it as it is.")
    for key in _WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            content = dict(inner)
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _recognise(state: State, path: Path) -> Source:
    for source in SOURCES:
        if all(mark in state for mark in source.marks):
            return source
    known = ", ".join(source.name for source in SOURCES)
    if classifier := classifier_of(state):
        raise ModelFileError(
            f"{path}: weights of torchvision's classifier {classifier}, a backbone and no detector",
            f"Train a detector that starts from them: {training_command(classifier, str(path))}.",
        )
    if any(key.startswith(("classifier.", "fc.")) for key in state):
        raise ModelFileError(
            f"{path}: holds a classifier, a detector was expected",
            "Where it is the backbone of a configuration, train one from it: edgedet train CONFIG --init FILE.",
        )
    first = next(iter(state), "no tensor")
    raise ModelFileError(f"{path}: {len(state)} tensors ({first}, ...) of no known detector: {known}", _REMEDY)


def _labels(labels: Path | None, count: int) -> tuple[tuple[str, ...], str]:
    """Class names without background; those of COCO or VOC, in torchvision's order, where their number fits."""
    if labels is not None:
        return read_labels(labels, count), ""
    from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    coco = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"][1:]
    voc = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"][1:]
    for names, kind in ((coco, "COCO"), (voc, "VOC")):
        if len(names) == count:
            unique = tuple(f"unused {i}" if name == "N/A" else name for i, name in enumerate(names, start=1))
            return unique, f"class names are those of {kind}"
    return numbered_labels(count), "class names are unknown and numbered; --labels gives them"


def _adapt(state: State, source: Source, image: InputSpec, path: Path) -> None:
    """Let source.adapt do its work, or say which tensor it did not find as it should be."""
    assert source.adapt
    try:
        source.adapt(state, image)
    except KeyError as error:
        raise ModelFileError(
            f"{path}: tensor {error.args[0]} was expected for {source.name}, found none", _REMEDY
        ) from error
    except (RuntimeError, IndexError) as error:
        raise ModelFileError(
            f"{path}: the first layer of {source.name} was expected, found tensors of other shapes", _REMEDY
        ) from error


def _fill(model: nn.Module, state: State, source: Source, path: Path) -> None:
    """Copy tensor by tensor, in place; every tensor of the file must have gone somewhere."""
    ours = {key: value for key, value in model.state_dict().items() if not key.endswith(_COUNTER)}
    theirs = {key: value for key, value in state.items() if not key.endswith(_COUNTER)}
    used = set[str]()
    for our_prefix, their_prefix in source.prefixes.items():
        targets = [key for key in ours if key.startswith(our_prefix)]
        origins = [key for key in theirs if key.startswith(their_prefix)]
        if len(targets) != len(origins):
            raise ModelFileError(
                f"{path}: {len(targets)} tensors {their_prefix}* were expected for {source.name}, found {len(origins)}",
                _REMEDY,
            )
        for target, origin in zip(targets, origins, strict=True):
            _copy(ours[target], theirs[origin], origin, path)
        used.update(origins)
    if extra := [key for key in theirs if key not in used]:
        raise ModelFileError(f"{path}: {source.name} has no tensor {extra[0]}, found {len(extra)} such", _REMEDY)


def _copy(target: Tensor, origin: Tensor, name: str, path: Path) -> None:
    if target.shape != origin.shape:
        raise ModelFileError(
            f"{path}: {name} of shape {tuple(target.shape)} was expected, found {tuple(origin.shape)}", _REMEDY
        )
    if not torch.isfinite(origin).all():
        raise ModelFileError(f"{path}: {name} holds numbers that are not finite", _REMEDY)
    with torch.no_grad():
        target.copy_(origin)
