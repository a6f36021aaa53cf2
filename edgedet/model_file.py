"""model.pt: weights and spec in one file, loaded without executing code from it."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedet.errors import ModelFileError
from edgedet.files import atomic_path
from edgedet.models import build
from edgedet.quantization.ranges import attach_ranges, ranges_of
from edgedet.spec import DetectorSpec

KIND = "edgedet.model"
_CODE = re.compile(r"(?:Unsupported global: |unsupported |Unsupported class )(?:GLOBAL )?([\w.]+\.[\w.]+)")
# What torch.load raises on damaged files; a damaged pickle can ask for anything.
_UNREADABLE = (RuntimeError, EOFError, ValueError, LookupError, OSError, TypeError, AttributeError)


def save_model(path: Path, model: nn.Module, spec: DetectorSpec) -> None:
    """Write weights, spec and, where the network has any, activation ranges to `path` in one step: a crash leaves the
    old file or none.
    """
    state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    content: dict[str, object] = {"kind": KIND, "spec": spec.to_json(), "state_dict": state}
    if ranges := ranges_of(model):
        content["activation_ranges"] = ranges
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_torch_file(path: Path) -> dict[str, object]:
    """Any file of tensors and plain values; torch.load with weights_only, so nothing in it is executed.

    Raises:
        ModelFileError: missing, truncated, not written by torch.save, or holding code.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file", "Check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        reason = _reason(error)
        raise ModelFileError(
            f"{path}: not a readable weights file ({reason})", "The file is damaged or foreign; copy or train it again."
        ) from error
    if not isinstance(content, Mapping):
        raise ModelFileError(
            f"{path}: holds a {type(content).__name__}, not weights", "Give a state dict or a model.pt."
        )
    return dict(content)


def _reason(error: Exception) -> str:
    """What was found instead of tensors, in a line; torch's own advice is to read the file unsafely."""
    text = str(error).strip()
    if match := _CODE.search(text):
        return f"tensors and plain values were expected, found the code of {match[1]}, which is not run"
    if text.startswith("Weights only load failed"):
        return "tensors were expected, found neither a zip archive nor a pickle of any"
    return text.splitlines()[0][:120] if text else "tensors were expected, found the end of the file"


def load_model(path: Path) -> tuple[nn.Module, DetectorSpec]:
    """Read a model.pt.

    Returns:
        The network in eval mode, with the activation ranges that quantization-aware training left
        (edgedet.quantization.ranges), and its spec.

    Raises:
        ModelFileError: missing, damaged, or not a model.pt of edgedet.
    """
    content = load_torch_file(path)
    if content.get("kind") != KIND or not isinstance(content.get("spec"), str):
        raise ModelFileError(
            f"{path}: these are weights without a detector spec, not a model.pt of edgedet",
            "Train with `edgedet train ... --init` and this file, and use the model.pt that it writes.",
        )
    spec = DetectorSpec.from_json(str(content["spec"]), source=str(path))
    model = build(spec)
    try:
        model.load_state_dict(content["state_dict"])  # type: ignore[arg-type]
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: the weights do not fit the network of the file's own spec", "The file is damaged; train it again."
        ) from error
    try:
        attach_ranges(model, content.get("activation_ranges", {}))
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}", "The file is damaged; train it again.") from error
    return model.eval(), spec


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest over names, shapes and bytes of a state dict: equal weights give equal digests on every machine."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
