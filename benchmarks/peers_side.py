"""One runtime of edgedet.benchmarks.peers: keeps one file loaded and runs it when a line asks for it.

    python peers_side.py SOCKET_FD CORES

This file is run by the Python of another environment too, so it needs nothing of edgedet. Lines of JSON: the first one
says {"kind", "path", "threads", "pixels"}; each further one, {"picture": number, "unrecorded": runs before},
is answered {"ms": time}. Every run goes from uint8 pixels of the network's size to the final boxes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, Any]
# A picture's (3, H, W) uint8 pixels to (boxes, scores), as the runtime orders them.
Run = Callable[[Pixels], tuple[Any, Any]]


def open_torch(path: Path, threads: int) -> tuple[Run, str]:
    """torchvision's detector, eager."""
    import torch

    torch.set_num_threads(threads)
    model = torch.load(path, weights_only=False).eval()
    return _torch_run(model), f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)"


def open_compiled(path: Path, threads: int) -> tuple[Run, str]:
    """torchvision's detector by torch.compile: network and suppression, as far as its compiler follows."""
    import torch

    torch.set_num_threads(threads)
    model = torch.compile(torch.load(path, weights_only=False).eval())
    return _torch_run(model), f"torch.compile {torch.__version__}, {torch.get_num_threads()} thread(s)"


def _torch_run(model: Any) -> Run:
    import torch

    def run(pixels: Pixels) -> tuple[Any, Any]:
        with torch.inference_mode():
            found = model([torch.from_numpy(pixels).float() / 255])[0]
        return found["boxes"].numpy(), found["scores"].numpy()

    return run


def open_executorch(path: Path, threads: int) -> tuple[Run, str]:
    """Backbone and heads in ExecuTorch with XNNPACK; decoding and suppression by torchvision's own function.

    ExecuTorch has no operator for suppression, and an app would write its own.
    """
    import torch
    from executorch.extension.pybindings import _C as threads_of  # noqa: N811 - a module
    from executorch.runtime import Runtime

    torch.set_num_threads(threads)
    model = torch.load(path, weights_only=False).eval()
    size = torch.zeros(1, 3, 320, 320)
    threads_of._unsafe_reset_threadpool(threads)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "heads.pte"
        written.write_bytes(_lowered(model, size))
        program = Runtime.get().load_program(written)  # from memory, it would not keep the bytes that it reads later
        method = program.load_method("forward")
    with torch.no_grad():
        images, _ = model.transform([size[0]])
        anchors = model.anchor_generator(images, list(model.backbone(images.tensors).values()))

    def run(pixels: Pixels) -> tuple[Any, Any]:
        with torch.inference_mode():
            codes, logits = method.execute([torch.from_numpy(pixels)[None].float()])
            heads = {"bbox_regression": codes, "cls_logits": logits}
            found = model.postprocess_detections(heads, anchors, [(320, 320)])[0]
        return found["boxes"].numpy(), found["scores"].numpy()

    used = threads_of._threadpool_get_thread_count()
    return run, f"ExecuTorch {version('executorch')}, XNNPACK, {used} thread(s)"


def _lowered(model: Any, example: Any) -> bytes:
    """Normalisation, backbone and heads as an ExecuTorch program."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = model.backbone, model.head

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.head(list(self.backbone(pixels * (1 / 127.5) - 1).values()))
            return found["bbox_regression"], found["cls_logits"]

    exported = torch.export.export(Heads().eval(), (example,))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    return bytes(program.buffer)


def open_onnxruntime(path: Path, threads: int) -> tuple[Run, str]:
    """A .onnx in ONNX Runtime, with its default options."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    feed = _onnx_feed(image.name)
    pick = _onnx_outputs([one.name for one in session.get_outputs()])
    said = f"onnxruntime {onnxruntime.__version__}, {session.get_session_options().intra_op_num_threads} thread(s)"
    return lambda pixels: pick(session.run(None, feed(pixels))), said


def open_openvino(path: Path, threads: int) -> tuple[Run, str]:
    """A .onnx in OpenVINO, float32 as all others."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    feed = _onnx_feed(compiled.input(0).any_name)
    pick = _onnx_outputs([output.any_name for output in compiled.outputs])

    def run(pixels: Pixels) -> tuple[Any, Any]:
        request.infer(feed(pixels))
        return pick([request.get_output_tensor(k).data for k in range(len(compiled.outputs))])

    used = compiled.get_property("INFERENCE_NUM_THREADS")
    return run, f"OpenVINO {version('openvino')}, {used} thread(s)"


def _onnx_feed(name: str) -> Callable[[Pixels], dict[str, Pixels]]:
    """edgedet's file takes pixels as floats, normalised inside; torchvision's takes them in 0..1, without a batch."""
    if name == "image":
        return lambda pixels: {name: pixels[None].astype(np.float32)}
    return lambda pixels: {name: pixels.astype(np.float32) / np.float32(255)}


def _onnx_outputs(names: list[str]) -> Callable[[list[Any]], tuple[Any, Any]]:
    if "num_detections" in names:
        count, boxes, scores = (names.index(n) for n in ("num_detections", "detection_boxes", "detection_scores"))

        def ours(found: list[Any]) -> tuple[Any, Any]:
            rows = int(found[count][0, 0])
            return found[boxes][0, :rows], found[scores][0, :rows]

        return ours
    return lambda found: (found[0], found[1])  # torchvision's order: boxes, scores, labels


def open_litert(path: Path, threads: int) -> tuple[Run, str]:
    """A .tflite of edgedet's default layout in LiteRT; normalising is the app's work and counted."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    boxes, _, scores, count = (detail["index"] for detail in interpreter.get_output_details())
    normalised = np.empty(image["shape"], np.float32)

    def run(pixels: Pixels) -> tuple[Any, Any]:
        np.multiply(pixels.transpose(1, 2, 0), np.float32(1 / 127.5), out=normalised[0], dtype=np.float32)
        np.subtract(normalised, np.float32(1), out=normalised)
        interpreter.set_tensor(image["index"], normalised)
        interpreter.invoke()
        rows = int(interpreter.get_tensor(count)[0])
        return interpreter.get_tensor(boxes)[0, :rows], interpreter.get_tensor(scores)[0, :rows]

    return run, f"LiteRT {version('ai-edge-litert')}, {threads} thread(s)"


OPENERS: dict[str, Callable[[Path, int], tuple[Run, str]]] = {
    "torch": open_torch,
    "compiled": open_compiled,
    "executorch": open_executorch,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "litert": open_litert,
}


def serve(connection: socket.socket) -> None:
    """Load what the first line asks for, then time a run for each further line."""
    with connection, connection.makefile("rw", encoding="utf-8") as lines:

        def say(value: dict[str, Any]) -> None:
            lines.write(json.dumps(value) + "\n")
            lines.flush()

        asked = json.loads(lines.readline())
        try:
            run, runtime = OPENERS[asked["kind"]](Path(asked["path"]), asked["threads"])
            pictures = np.load(asked["pixels"])
            found = [np.sort(np.asarray(run(picture)[1], np.float64))[::-1].tolist() for picture in pictures]
        except Exception as error:  # whatever a foreign runtime raises becomes "not run", with its words
            say({"error": f"{type(error).__name__}: {error}"})
            return
        say({"runtime": runtime, "scores": found})
        for line in lines:
            turn = json.loads(line)
            picture = pictures[turn["picture"] % len(pictures)]
            for _ in range(turn["unrecorded"]):
                run(picture)
            start = time.perf_counter()
            run(picture)
            say({"ms": (time.perf_counter() - start) * 1e3})


def main(descriptor: int, cores: list[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before any runtime starts threads
    serve(socket.socket(fileno=descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
