"""What every client program shares: its command line and what it prints. Needs Pillow and the client's own library.

    client.py MODEL [MODEL...] --images a.png b.png [--mean 127.5 --std 127.5]

Mean and standard deviation are for clients that normalise by themselves; the others read them in the file.

One line of JSON a model goes to stdout, so that a crash loses only what comes after it:

    {"model": "m.tflite", "client": "mediapipe", "version": "1.2.2", "accepted": true, "error": "",
     "detections": [{"boxes_xyxy_px": [[10.0, 20.0, 60.0, 90.0]], "scores": [0.9], "labels": ["dog"]}]}

`detections` has one entry an image, in pixels of that image; it is null where this machine can load the file but not
run it, and `note` says why. A program whose library does not load prints {"not_run": "the reason"}, with exit code 3.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

NOT_RUN = 3
Detect = Callable[[str], "dict[str, Any]"]  # path of an image to one entry of `detections`


class CannotRunHereError(Exception):
    """The file was accepted, but this system cannot execute it."""


@dataclass(frozen=True)
class Normalisation:
    """(value - mean) / std."""

    mean: float
    std: float


def run_client(distribution: str, load: Callable[[Normalisation], Callable[[str], Detect]]) -> None:
    """The main function of a client.

    Args:
        distribution: whose version is printed.
        load: imports the library and returns a function from a model's path to a function from an image's path to
            detections.
    """
    arguments = _arguments()
    out = os.fdopen(os.dup(1), "w")  # native libraries print to stdout as well: theirs goes to stderr from here on
    os.dup2(2, 1)
    try:
        open_model = load(Normalisation(arguments.mean, arguments.std))
    except Exception as error:
        print(json.dumps({"not_run": f"{type(error).__name__}: {error}"}), file=out, flush=True)
        sys.exit(NOT_RUN)
    version = metadata.version(distribution)
    for model in arguments.models:
        line = {"model": model, "client": Path(sys.argv[0]).resolve().parent.name, "version": version}
        print(json.dumps(line | _try(open_model, model, arguments.images)), file=out, flush=True)
    out.flush()
    os._exit(0)  # some libraries raise or crash while the interpreter shuts down, when all is said


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--images", nargs="*", default=[])
    parser.add_argument("--mean", type=float, default=0.0)
    parser.add_argument("--std", type=float, default=1.0)
    return parser.parse_args()


def _try(open_model: Callable[[str], Detect], model: str, images: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"accepted": False, "error": "", "note": "", "detections": None}
    try:
        detect = open_model(model)
        detections = [detect(image) for image in images]
    except CannotRunHereError as error:
        return found | {"accepted": True, "note": str(error)}
    except Exception as error:
        return found | {"error": f"{type(error).__name__}: {error}"}
    return found | {"accepted": True, "detections": detections}


def as_detections(boxes_xyxy_px: Any, scores: Any, labels: Any) -> dict[str, Any]:
    """Plain lists of numbers from whatever holds them."""
    boxes = [[float(v) for v in box] for box in boxes_xyxy_px]
    return {"boxes_xyxy_px": boxes, "scores": [float(s) for s in scores], "labels": list(labels)}
