"""The runner of model.pt: the network in torch, the decoder, and the reference NMS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedet.decode import Decoder, RawHeads
from edgedet.formats import Format
from edgedet.model_file import load_model
from edgedet.nms import non_maximum_suppression
from edgedet.preprocess import normalise
from edgedet.runner import HeadOutputs, Runner, UnitDetections
from edgedet.spec import DetectorSpec, NmsSpec

FORMATS = (Format(name="torch", suffix=".pt", module="edgedet.torch_runner"),)


class TorchRunner(Runner):
    """Runs a network in memory (`open_runner` makes one from a model.pt). Always fp32: the reference of parity.

    It runs where the network is: on CPU, or during training on the device that trains.
    """

    def __init__(self, model: nn.Module, spec: DetectorSpec, path: Path) -> None:
        super().__init__(path, spec, format="torch", precision="fp32", runtime=f"torch {torch.__version__}")
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.decoder = Decoder(spec).to(self.device)

    def with_nms(self, nms: NmsSpec) -> TorchRunner:
        """The same network with other thresholds: what an exported file with these is compared against."""
        return TorchRunner(self.model, replace(self.spec, nms=nms), self.path)

    @torch.inference_mode()
    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        raw = self._raw(network_pixels)
        return HeadOutputs(*(tensor[0].cpu().numpy() for tensor in (*raw, *self.decoder(raw))))

    @torch.inference_mode()
    def infer(self, network_pixels: Tensor) -> UnitDetections:
        boxes, scores = (tensor.cpu() for tensor in self.decoder(self._raw(network_pixels)))
        kept = non_maximum_suppression(boxes[0], scores[0], self.spec.nms)
        return UnitDetections(boxes[0, kept.prior_indices].numpy(), kept.scores.numpy(), kept.class_ids.numpy())

    def _raw(self, network_pixels: Tensor) -> RawHeads:
        raw: RawHeads = self.model(normalise(network_pixels.to(self.device), self.spec.input)[None])
        return raw


def open_runner(path: Path, threads: int | None = None) -> TorchRunner:
    """Load a model.pt. `threads` sets torch's own, process-wide thread count."""
    if threads is not None:
        torch.set_num_threads(threads)
    model, spec = load_model(path)
    return TorchRunner(model, spec, path)
