"""Runs a .tflite that edgedet exported, with LiteRT (the successor of the TensorFlow Lite interpreter)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor

from edgedet.decode import Decoder
from edgedet.errors import ModelFileError, NotRunError
from edgedet.export.card import KEY, CardRunner, FileCard
from edgedet.export.tflite_delegate import is_delegated, operators_outside
from edgedet.export.tflite_encodings import file_priors
from edgedet.export.tflite_graph import Graph, metadata_entry
from edgedet.export.tflite_metadata import check_file
from edgedet.export.tflite_postprocess import ANCHORS, MAX_THREADS, OUTPUTS
from edgedet.nms import non_maximum_suppression
from edgedet.preprocess import normalise_hwc
from edgedet.runner import Float32Array, HeadOutputs, UnitDetections

# Names of the tensors that parity reads; to_tflite gives them.
BOX_CODES, LOGITS, DELTAS, SCORES = "box_codes", "logits", "deltas", "class_scores"
_HEADS = (BOX_CODES, LOGITS, DELTAS, SCORES)
_SWAP_XY = (1, 0, 3, 2)
_NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate"


class TfliteRunner(CardRunner):
    """One loaded .tflite; XNNPACK, LiteRT's default delegate on CPUs, runs all but the end of the graph.

    Args:
        path: the file, already checked by `open_runner`.
        card: from the file.
        threads: CPU threads; None for LiteRT's default, one.

    Attributes:
        suppresses: whether the file suppresses, rather than MediaPipe (see tflite_encodings).
    """

    def __init__(self, path: Path, card: FileCard, threads: int | None) -> None:
        runtime = f"LiteRT {version('ai-edge-litert')}"
        super().__init__(path, card, format="tflite", runtime=runtime)
        self.threads = threads
        try:
            self._interpreter = _interpreter(threads, model_path=str(path))
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"{path}: {runtime} refuses it ({error})", "Export the model again.") from error
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self.provider = "XNNPACK" if is_delegated(self._interpreter._get_ops_details()) else ""
        self.suppresses = len(self._outputs) == len(OUTPUTS)
        self._read = _read_detections if self.suppresses else self._read_encodings

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        self._feed(self._interpreter, network_pixels)
        self._interpreter.invoke()
        return self._read([self._interpreter.get_tensor(index)[0] for index in self._outputs])

    def _read_encodings(self, outputs: Sequence[Float32Array]) -> UnitDetections:
        """What MediaPipe does with the two outputs: the card's spec holds the suppression that it applies."""
        location, scores = outputs
        boxes = self._decoder.boxes(torch.from_numpy(location[:, _SWAP_XY]))
        kept = non_maximum_suppression(boxes, torch.from_numpy(scores), self.spec.nms)
        return UnitDetections(boxes[kept.prior_indices].numpy(), kept.scores.numpy(), kept.class_ids.numpy())

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        interpreter = self._inspection
        self._feed(interpreter, network_pixels)
        interpreter.invoke()
        codes, logits, deltas, scores = (
            interpreter.get_tensor(detail["index"])[0] for detail in interpreter.get_output_details()
        )
        boxes: Float32Array = self._decoder.boxes(torch.from_numpy(deltas)).numpy()
        return HeadOutputs(codes, logits, boxes, scores)

    def _feed(self, interpreter: Any, network_pixels: Tensor) -> None:
        (image,) = interpreter.get_input_details()
        if image["dtype"] == np.uint8:
            pixels_nhwc = network_pixels.permute(1, 2, 0).contiguous()[None].numpy()
            interpreter.set_tensor(image["index"], pixels_nhwc)
            return
        # Into the interpreter's own memory, without a copy. It does not run while anything refers to that memory.
        normalise_hwc(network_pixels, self.spec.input, interpreter.tensor(image["index"])()[0])

    def before_nms(self) -> Callable[[Tensor], object]:
        interpreter = _interpreter(self.threads, model_content=self.cut((DELTAS, SCORES)).to_bytes())

        def run(network_pixels: Tensor) -> object:
            self._feed(interpreter, network_pixels)
            interpreter.invoke()
            return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

        return run

    def operators_outside_delegate(self) -> tuple[str, ...]:
        """Names of the operators that XNNPACK left to the interpreter, in running order."""
        return operators_outside(self._interpreter._get_ops_details(), self._outputs)

    def cut(self, outputs: Sequence[str]) -> Graph:
        """The saved file up to the given inner tensors."""
        graph = Graph.parse(self.path.read_bytes())
        graph.set_signature({"image": int(graph.main.inputs[0])}, {name: graph.tensor(name) for name in outputs})
        graph.prune()
        return graph

    @cached_property
    def _inspection(self) -> Any:
        """The same graph with its inner tensors as outputs.

        Delegates hide what lies inside them, so reading these from the interpreter that `infer` uses is not possible.
        """
        return _interpreter(self.threads, model_content=self.cut(_HEADS).to_bytes())

    @cached_property
    def _decoder(self) -> Decoder:
        """The decoder with the anchors of the file: a constant of the graph, or those that it gives MediaPipe."""
        data = self.path.read_bytes()
        if self.suppresses:
            graph = Graph.parse(data)
            anchors = graph.constant(graph.tensor(ANCHORS))
            assert anchors is not None
            priors = anchors[:, _SWAP_XY].copy()
        else:
            priors = file_priors(data)
        decoder = Decoder(self.spec)
        decoder.priors_cxcywh = torch.from_numpy(priors)
        return decoder


def _read_detections(outputs: Sequence[Float32Array]) -> UnitDetections:
    """TFLite_Detection_PostProcess's four outputs."""
    boxes, classes, scores, count = outputs
    found = int(count)  # rows after these are not initialised by class-agnostic suppression
    return UnitDetections(
        np.ascontiguousarray(boxes[:found][:, _SWAP_XY]), scores[:found], classes[:found].astype(np.int64)
    )


def _interpreter(threads: int | None, **model: Any) -> Any:
    """An interpreter that is ready to run; `model` is model_path or model_content."""
    with _without_notice():
        interpreter = Interpreter(num_threads=threads, **model)
        interpreter.allocate_tensors()
    return interpreter


@contextmanager
def _without_notice() -> Iterator[None]:
    """Drop the line by which XNNPACK announces itself on stderr, in the midst of progress bars; pass on all else."""
    try:
        stderr = os.dup(2)
    except OSError:  # a program without stderr has nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not line.startswith(_NOTICE):
                    os.write(2, line)


def open_runner(path: Path, threads: int | None = None) -> TfliteRunner:
    """Check and load a .tflite written by `edgedet export`.

    Raises:
        ModelFileError: unreadable, not a TFLite model, damaged, or exported by something else.
        NotRunError: more threads than the file gives right answers with.
    """
    runner = TfliteRunner(path, read_card(path), threads)
    if runner.suppresses and threads is not None and threads > MAX_THREADS:
        raise NotRunError(
            f"{path}: LiteRT may lose a class when it suppresses with more than {MAX_THREADS} threads",
            f"Choose at most {MAX_THREADS} threads.",
        )
    return runner


def read_card(path: Path) -> FileCard:
    """The card of a .tflite, and the certainty that the file is as it was exported.

    Raises:
        ModelFileError: as `open_runner`.
    """
    try:
        data = path.read_bytes()
        check_file(data)
        text = metadata_entry(data, KEY)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a .tflite that edgedet can run ({error})", "Copy or export it again with `edgedet export`."
        ) from error
    return FileCard.from_json(text.decode() if text is not None else None, str(path))
