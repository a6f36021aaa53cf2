"""ONNX Runtime's trace of a file, by parts of the detector."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from torch import Tensor

from edgedet.benchmarks.operators import Attribution, OperatorCost, Turns
from edgedet.benchmarks.operators_profiler import profiler_us_per_call
from edgedet.export.card import CardRunner
from edgedet.export.onnx_runner import OnnxRunner
from edgedet.export.to_onnx import INPUT, TAPS

_HEADS, _DECODED = TAPS[:2], TAPS[2:]
_BACKBONE = ".backbone."  # within the names of its weights
_MARK = "|"  # between a part and the rest of a name
KERNEL_SUFFIX = "_kernel_time"  # of the trace's events that are operators


def traced(runner: CardRunner, pixels: Sequence[Tensor], threads: int | None, runs: int) -> Attribution:
    """Profile runs of the file, in turns with runs without a profiler."""
    assert isinstance(runner, OnnxRunner)
    plain = _Turned(runner, runner._session)
    with tempfile.TemporaryDirectory(prefix="edgedet-operators-") as scratch:
        profiled = _Turned(runner, profiling_session(runner.path, threads, Path(scratch)))
        bare, watched = Turns(plain, pixels), Turns(profiled, pixels)
        totals_ms = []
        for number in range(runs + runs // 10):
            for one in (bare, watched) if number % 2 else (watched, bare):
                one()  # the other session has just emptied the caches
                one()
            if number >= runs // 10:
                totals_ms.append(plain.last_ms)
        events = json.loads(Path(profiled.session.end_profiling()).read_text(encoding="utf-8"))
    found = _last_runs(events, 2 * runs)[1::2]
    sums_ms = [sum(event["dur"] for event in run) / 1e3 for run in found]
    calm = _fastest([a + b for a, b in zip(totals_ms, sums_ms, strict=True)])
    taken_off_us = profiler_us_per_call()
    operators = _costs([found[number] for number in calm], taken_off_us)
    total_ms = float(np.mean([totals_ms[number] for number in calm]))
    return Attribution(
        str(runner.path), runner.runtime, "trace", threads, runs, total_ms, operators,
        profiler_us_per_call=taken_off_us, traced_ms=float(np.mean([sums_ms[number] for number in calm])),
    )  # fmt: skip


class _Turned:
    """Runs a session on pixels and keeps the time of the call alone."""

    def __init__(self, runner: OnnxRunner, session: onnxruntime.InferenceSession) -> None:
        self.runner, self.session, self.last_ms = runner, session, 0.0

    def __call__(self, network_pixels: Tensor) -> object:
        fed = {INPUT: self.runner._feed(network_pixels)}
        start = time.perf_counter()
        found = self.session.run(None, fed)
        self.last_ms = (time.perf_counter() - start) * 1e3
        return found


def profiling_session(path: Path, threads: int | None, scratch: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU that writes a trace into a folder; its operators bear the names of `name_by_part`."""
    model = onnx.load(str(path))
    name_by_part(model.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling, options.profile_file_prefix = True, str(scratch / "trace")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def name_by_part(graph: onnx.GraphProto) -> None:
    """Give nodes and what they compute names that begin with their part; a fused operator is named after either."""
    parts = parts_of(graph)
    fixed = {output.name for output in graph.output}
    renamed = {
        output: f"{part}{_MARK}{output}"
        for node, part in zip(graph.node, parts, strict=True)
        for output in node.output
        if output and output not in fixed
    }
    for number, (node, part) in enumerate(zip(graph.node, parts, strict=True)):
        node.name = f"{part}{_MARK}{number}"
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    del graph.value_info[:]


def parts_of(graph: onnx.GraphProto) -> list[str]:
    """The part of each node: what comes after the decoded boxes is "nms", what comes after the heads "decode".

    Before the heads, a node is of the backbone when its weights or those of something after it are. A network without a
    backbone of its own (YOLO) has its last convolutions as heads.
    """
    producer = {output: number for number, node in enumerate(graph.node) for output in node.output}
    network = _before(graph, producer, _HEADS)
    decoded = _before(graph, producer, _DECODED)
    weights = weights_of(graph)
    body = _body(graph, producer, network, weights)
    seen = _after(graph, producer, network.intersection(weights))
    return [_part(number, network, decoded, body, seen) for number in range(len(graph.node))]


def weights_of(graph: onnx.GraphProto) -> dict[int, set[str]]:
    """Names of the weights that each node with weights reads, also as what other nodes make of constants alone.

    That is how integer weights become floats; runtimes fuse these nodes or compute them while loading.
    """
    behind: dict[str, set[str]] = {one.name: {one.name} if len(one.dims) > 1 else set() for one in graph.initializer}
    found: dict[int, set[str]] = {}
    for number, node in enumerate(graph.node):
        read: set[str] = set().union(*(behind.get(name, ()) for name in node.input))
        if all(name in behind for name in node.input if name):
            behind |= dict.fromkeys(node.output, read)
        elif read:
            found[number] = read
    return found


def _part(number: int, network: set[int], decoded: set[int], body: set[int], seen: set[int]) -> str:
    if number in network:
        if number not in seen:
            return "normalise"
        return "backbone" if number in body else "head"
    return "decode" if number in decoded else "nms"


def _body(
    graph: onnx.GraphProto, producer: Mapping[str, int], network: set[int], weights: Mapping[int, set[str]]
) -> set[int]:
    """Nodes of the backbone: those with its weights, and all before them."""
    heavy = network.intersection(weights)
    named = {number for number in heavy if any(_BACKBONE in name for name in weights[number])}
    if not named:
        named = {number for number in heavy if _reaches(graph, producer, number, heavy)}
    inputs = [name for number in named for name in graph.node[number].input]
    chosen = _before(graph, producer, inputs) | named
    # An activation behind the last of them, without weights, takes what only the backbone gives.
    for number in sorted(network - chosen):
        sources = [producer[name] for name in graph.node[number].input if name in producer]
        moves = graph.node[number].op_type in ("Reshape", "Transpose", "Concat")
        if number not in heavy and not moves and sources and all(source in chosen for source in sources):
            chosen.add(number)
    return chosen


def _reaches(graph: onnx.GraphProto, producer: Mapping[str, int], start: int, others: set[int]) -> bool:
    return bool((_after(graph, producer, {start}) - {start}) & others)


def _before(graph: onnx.GraphProto, producer: Mapping[str, int], tensors: Sequence[str]) -> set[int]:
    """Nodes that these tensors need."""
    found: set[int] = set()
    waiting = list(tensors)
    while waiting:
        number = producer.get(waiting.pop())
        if number is not None and number not in found:
            found.add(number)
            waiting += graph.node[number].input
    return found


def _after(graph: onnx.GraphProto, producer: Mapping[str, int], starts: set[int]) -> set[int]:
    """Nodes that need one of these, themselves included. Nodes of a graph stand in an order of running."""
    found = set(starts)
    for number, node in enumerate(graph.node):
        if any(producer.get(name) in found for name in node.input):
            found.add(number)
    return found


def _last_runs(events: Sequence[Mapping[str, Any]], runs: int) -> list[list[Mapping[str, Any]]]:
    """Operators of each of the last runs, in running order."""
    nodes = sorted((e for e in events if e["cat"] == "Node" and e["name"].endswith(KERNEL_SUFFIX)), key=_start)
    whole = sorted((e for e in events if e["name"] == "model_run"), key=_start)[-runs:]
    found: list[list[Mapping[str, Any]]] = []
    position = 0
    for run in whole:
        start, end = run["ts"], run["ts"] + run["dur"]
        while position < len(nodes) and nodes[position]["ts"] < start:
            position += 1
        first = position
        while position < len(nodes) and nodes[position]["ts"] < end:
            position += 1
        found.append(list(nodes[first:position]))
    return found


def _start(event: Mapping[str, Any]) -> float:
    return float(event["ts"])


def _costs(runs: Sequence[Sequence[Mapping[str, Any]]], taken_off_us: float = 0.0) -> tuple[OperatorCost, ...]:
    """Means over runs by part and kind, without what the profiler adds to each call.

    Not medians of each kind: a pause hits one operator here and another there, so the sum of medians is too small. What
    the optimiser added counts to the part of what ran before it.
    """
    times: dict[tuple[str, str], float] = defaultdict(float)
    calls: Counter[tuple[str, str]] = Counter()
    for run in runs:
        part = "normalise"
        for event in run:
            named, mark, _ = event["name"].partition(_MARK)
            part = named if mark else part
            key = (part, event["args"]["op_name"])
            times[key] += max(0.0, event["dur"] - taken_off_us)
            calls[key] += 1
    count = len(runs)
    return tuple(
        OperatorCost(*key, calls[key] / count, us / count / 1e3)
        for key, us in sorted(times.items(), key=lambda item: -item[1])
    )


def _fastest(totals: Sequence[float]) -> list[int]:
    """Numbers of the runs of the fastest quarter, which other work disturbed least; chosen by both sides together."""
    order = sorted(range(len(totals)), key=lambda number: totals[number])
    return order[: max(1, len(order) // 4)]
