"""What edgedet.benchmarks.peers runs: one network as every peer wants it, and environments for two of them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import edgedet
from edgedet.benchmarks.onnx_vs_torchvision import (
    _check_same_network,
    _export_torchvision,
    random_network,
    torchvision_model,
    torchvision_spec,
)
from edgedet.errors import NotRunError
from edgedet.export import to_onnx, to_tflite
from edgedet.export.card import FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.options import ExportOptions
from edgedet.export.pictures import generated_pictures
from edgedet.preprocess import normalise, to_network_pixels
from edgedet.spec import DetectorSpec, NmsSpec

# Packages that are not among edgedet's own, by the environment that gets them.
ENVIRONMENTS = {
    "openvino": ("openvino",),
    "executorch": ("executorch",),
}
_INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Peer:
    """One row.

    Attributes:
        kind: as `peers_side.OPENERS` calls the runtime.
        file: that it runs, as `write_files` names it.
        environment: of ENVIRONMENTS; "" for this one.
        ours: whether edgedet wrote the file.
    """

    name: str
    kind: str
    file: str
    environment: str = ""
    ours: bool = False


REFERENCE = "torchvision's ONNX export, ONNX Runtime"
PEERS = (
    Peer(REFERENCE, "onnxruntime", "torchvision.onnx"),
    Peer("the same with edgedet's thresholds", "onnxruntime", "torchvision_same.onnx"),
    Peer("torchvision, eager", "torch", "torchvision.pt"),
    Peer("torchvision, torch.compile", "compiled", "torchvision.pt"),
    Peer("torchvision, ExecuTorch with XNNPACK", "executorch", "torchvision.pt", "executorch"),
    Peer("torchvision's ONNX export, OpenVINO", "openvino", "torchvision_same.onnx", "openvino"),
    Peer("edgedet .onnx, ONNX Runtime", "onnxruntime", "edgedet.onnx", ours=True),
    Peer("edgedet .tflite, LiteRT", "litert", "edgedet.tflite", ours=True),
    Peer("edgedet .onnx, OpenVINO", "openvino", "edgedet.onnx", "openvino", ours=True),
)


def peers_spec() -> DetectorSpec:
    """torchvision's detector; as there, a box competes with every class and not with its best one alone."""
    return replace(torchvision_spec(), nms=NmsSpec(labels_per_box="all"))


def write_files(folder: Path) -> None:
    """Write the network in all forms, all with the same weights, and the pictures as pixels.npy (n, 3, 320, 320).

    Suppression has edgedet's thresholds in all files but torchvision.onnx, which has torchvision's defaults.
    """
    spec = peers_spec()
    pixels = [to_network_pixels(picture, spec.input) for picture in generated_pictures()]
    np.save(folder / "pixels.npy", torch.stack(pixels).numpy())
    network = random_network(spec, normalise(torch.stack(pixels), spec.input))
    deployable = Deployable(network, spec)
    options = ExportOptions()
    card = FileCard(spec, "fp32", deployable.weights_sha256, edgedet.__version__)
    to_onnx.export(deployable, options, card, folder / "edgedet.onnx")
    to_tflite.export(deployable, options, card, folder / "edgedet.tflite")
    for same, name in ((False, "torchvision"), (True, "torchvision_same")):
        model = torchvision_model(network, spec, same)
        _check_same_network(model, network, pixels[0], spec)
        _export_torchvision(model, folder / f"{name}.onnx")
    torch.save(model, folder / "torchvision.pt")


def environment_python(name: str, folder: Path) -> Path:
    """The Python of an environment that sees this one's packages and holds those of ENVIRONMENTS besides.

    Made in `folder` when it is not there yet. Nothing is installed into the environment edgedet runs in.

    Raises:
        NotRunError: the packages cannot be installed.
    """
    if not name:
        return Path(sys.executable)
    home = folder / name
    python, done = home / "bin" / "python", home / "complete"
    if not done.exists():
        _run_or_say([sys.executable, "-m", "venv", "--clear", str(home)], name)
        site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        (site / "edgedet_packages.pth").write_text(
            f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n", encoding="utf-8"
        )
        _run_or_say([str(python), "-m", "pip", "install", "-q", *ENVIRONMENTS[name]], name)
        done.touch()
    return python


def _run_or_say(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotRunError(f"installing {name} took more than {_INSTALL_SECONDS} s", "Try again.") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise NotRunError(f"{name} cannot be installed ({said})", f"See what `pip install {name}` says.")
