"""A .tflite cut at its inner tensors, and the operators that its delegate leaves to the interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from edgedet.benchmarks.operators import Attribution, OperatorCost, medians_ms
from edgedet.errors import NotRunError
from edgedet.export.card import CardRunner
from edgedet.export.tflite_runner import BOX_CODES, LOGITS, TfliteRunner, _interpreter

# Why XNNPACK leaves an operator to the interpreter, and what to write instead.
HINTS = {
    "TFLite_Detection_PostProcess": "a custom operator runs on the CPU in every delegate; export with "
    "--tflite-layout mediapipe-gpu to leave suppression to the app",
    "CAST": "it changes the type of a tensor: feed the type that the network takes (no --tflite-input uint8)",
    "GATHER": "it picks rows by number: slice instead, where the rows lie together",
    "SPLIT": "write slices of the tensor instead",
    "TOPK_V2": "sorting is for the CPU: leave it behind the last operator of the delegate",
    "QUANTIZE": "precision changes here: quantize the operators on both sides alike",
    "DEQUANTIZE": "weights are stored in another precision than they are computed in",
}
_NO_HINT = "see XNNPACK's list of operators; types or shapes other than static float32 keep an operator out of it"


def by_cutting(runner: CardRunner, pixels: Sequence[Tensor], threads: int | None, runs: int) -> Attribution:
    """Time the file up to its heads, up to its decoded boxes, and whole, in turns."""
    assert isinstance(runner, TfliteRunner)
    if not runner.suppresses:
        raise NotRunError(f"{runner.path}: it leaves decoding and suppression to the app", "Take the default layout.")
    sides = {"heads": _up_to(runner, (BOX_CODES, LOGITS)), "decoded": runner.before_nms(), "whole": runner.infer}
    times = medians_ms(sides, pixels, runs)
    operators = (
        OperatorCost("backbone and head", "all", 1, times["heads"]),
        OperatorCost("decode", "scores", 1, times["decoded"] - times["heads"]),
        OperatorCost("nms", "suppression, with the boxes' decoding", 1, times["whole"] - times["decoded"]),
    )
    outside = outside_with_hints(runner.operators_outside_delegate()) if runner.provider else ()
    path = str(runner.path)
    return Attribution(path, runner.runtime, "cut", threads, runs, times["whole"], operators, outside)


def outside_with_hints(names: Sequence[str]) -> tuple[str, ...]:
    """Lines like "2 x CAST: what to do about it", in the order of running."""
    return tuple(f"{count} x {name}: {HINTS.get(name, _NO_HINT)}" for name, count in Counter(names).items())


def _up_to(runner: TfliteRunner, tensors: Sequence[str]) -> Any:
    interpreter = _interpreter(runner.threads, model_content=runner.cut(tensors).to_bytes())

    def run(network_pixels: Tensor) -> None:
        runner._feed(interpreter, network_pixels)
        interpreter.invoke()

    return run
