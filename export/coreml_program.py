"""First stage of the pipeline: the detector as an ML program, converted from a torch trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgedet.boxes import xyxy_to_cxcywh
from edgedet.decode import RawHeads
from edgedet.export.coreml_library import ct, only_errors
from edgedet.export.coreml_names import BOX_CODES, IMAGE, LOGITS, RAW_CONFIDENCE, RAW_COORDINATES
from edgedet.export.deployable import Deployable


class DetectorStage(nn.Module):
    """(1, 3, H, W) pixels 0..255 to raw_confidence (N, columns) and raw_coordinates (N, 4) cxcywh in 0..1.

    Each row of raw_confidence holds one number above zero at most, the score of the prior's best class (ties: the lower
    class index). Vision takes the sum of a row for the confidence that any object is there, so it must not exceed 1,
    which several sigmoids would break; and Core ML names a box after the best class alone, so nothing is lost.

    Priors below the best `nms.pre_topk` are set to zero as well, because the NonMaximumSuppression model has no such
    limit (priors that tie with the last one stay).
    """

    class_ids: Tensor
    column_ids: Tensor

    def __init__(self, deployable: Deployable, columns: int) -> None:
        super().__init__()
        self.deployable = deployable
        self.num_classes = float(deployable.spec.num_classes)
        self.pre_topk = deployable.spec.nms.pre_topk
        self.limited = deployable.spec.num_priors > self.pre_topk
        self.register_buffer("class_ids", torch.arange(deployable.spec.num_classes, dtype=torch.float32))
        self.register_buffer("column_ids", torch.arange(columns, dtype=torch.float32))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        # Names of local variables become names in the saved program: those listed in coreml_names are read by runners.
        box_codes, logits = self.deployable.raw(image)
        batch_boxes, batch_scores = self.deployable.decoder(RawHeads(box_codes, logits))
        scores = batch_scores[0]
        return self._best_class_only(scores), xyxy_to_cxcywh(batch_boxes[0])

    def _best_class_only(self, scores: Tensor) -> Tensor:
        """(N, C) scores to (N, columns). Not argmax: MIL leaves open which of equal values that gives."""
        best = scores.amax(dim=-1, keepdim=True)
        not_best = (scores < best).float() * self.num_classes
        first_best = (self.class_ids + not_best).amin(dim=-1, keepdim=True)
        if self.limited:
            last_kept = torch.topk(best[:, 0], self.pre_topk).values[-1:]
            best = best * (best >= last_kept).float()
        return (self.column_ids == first_best).float() * best


class BeforeDecoding:
    """Selects the operators that may run in half precision: the network up to the raw heads, not what follows.

    Half precision near 1 has steps of 0.0005 to 0.001, which is 0.16 to 0.31 px of 320. Decoding 3234 SSD priors in it
    moved box corners by up to 0.36 px (0.05 px on average) from the same codes decoded in float32. Decoding is a
    handful of operators on a few thousand rows, next to a stage that runs on the CPU and takes float32, so keeping it
    in float32 costs little.

    An instance is what coremltools calls an op_selector; it sees the operators in order of execution.
    """

    def __init__(self) -> None:
        self._decoded: set[str] = set()

    def __call__(self, operation: Any) -> bool:
        inputs = [variable.name for value in operation.inputs.values() for variable in _variables(value)]
        follows = any(name in self._decoded or name.split("_cast_fp16")[0] in (BOX_CODES, LOGITS) for name in inputs)
        if follows:
            self._decoded.update(variable.name for variable in operation.outputs)
        return not follows


def _variables(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def convert_detector(deployable: Deployable, precision: str, columns: int) -> Any:
    """Convert to a coremltools MLModel of type mlprogram, for iOS 15 and later.

    Normalisation is part of the trace (subtract the mean, divide by std), so that it is written down once for all
    formats; ImageType's own scale and bias would be lowered to the same two operators.

    Args:
        deployable: image to boxes and scores.
        precision: "fp16" for half precision up to the raw heads, or "fp32".
        columns: of raw_confidence, at least the number of classes.
    """
    image = torch.zeros(1, 3, deployable.spec.input.height, deployable.spec.input.width)
    stage = DetectorStage(deployable, columns).eval()
    trace: Any = torch.jit.trace  # not torch.export: only the tracer keeps the names of variables
    compute = ct.transform.FP16ComputePrecision(BeforeDecoding()) if precision == "fp16" else ct.precision.FLOAT32
    with only_errors(), torch.no_grad():
        return ct.convert(
            trace(stage, image, check_trace=False),
            convert_to="mlprogram",
            inputs=[ct.ImageType(name=IMAGE, shape=tuple(image.shape), color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in (RAW_CONFIDENCE, RAW_COORDINATES)],
            compute_precision=compute,
            minimum_deployment_target=ct.target.iOS15,
            skip_model_load=True,
        )
