"""Each operator of the reference runtime: a program made by hand, saved, loaded, run, and compared with torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.export.mil_ops import OPERATORS
from tests.export.mil_programs import mb, run


def _values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


MAP = _values(2, 4, 5, 7)
ROWS = _values(3, 6)
OTHER = _values(3, 6, seed=1)
KERNEL = _values(6, 2, 3, 3, seed=2)
BIAS = _values(6, seed=3)
NARROW_MAP = MAP[:, :1]


@dataclass(frozen=True)
class Case:
    """A program of one operator and what torch (or a hand-made tensor) says it gives for `inputs`."""

    op: str
    build: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    expected: Tensor | tuple[Tensor, ...]
    note: str = ""

    def __str__(self) -> str:
        return f"{self.op}{'-' if self.note else ''}{self.note}"


def _conv(**options: Any) -> Callable[..., Any]:
    return lambda x: mb.conv(x=x, weight=KERNEL.numpy(), bias=BIAS.numpy(), groups=2, **options)


_ELEMENTWISE = [
    Case("add", lambda x, y: mb.add(x=x, y=y), (ROWS, OTHER), ROWS + OTHER),
    Case("add", lambda x: mb.add(x=x, y=2.5), (ROWS,), ROWS + 2.5, "scalar"),
    Case("sub", lambda x: mb.sub(x=x, y=OTHER[0].numpy()), (ROWS,), ROWS - OTHER[0], "broadcast"),
    Case("mul", lambda x, y: mb.mul(x=x, y=y), (ROWS, OTHER), ROWS * OTHER),
    Case("real_div", lambda x, y: mb.real_div(x=x, y=y), (ROWS, OTHER), ROWS / OTHER),
    Case("maximum", lambda x, y: mb.maximum(x=x, y=y), (ROWS, OTHER), torch.maximum(ROWS, OTHER)),
    Case("minimum", lambda x: mb.minimum(x=x, y=1.0), (ROWS,), ROWS.clamp(max=1), "scalar"),
    Case("exp", lambda x: mb.exp(x=x), (ROWS,), ROWS.exp()),
    Case("relu", lambda x: mb.relu(x=x), (ROWS,), ROWS.relu()),
    Case("relu6", lambda x: mb.relu6(x=x), (ROWS,), F.relu6(ROWS)),
    Case("leaky_relu", lambda x: mb.leaky_relu(x=x, alpha=0.1), (ROWS,), F.leaky_relu(ROWS, 0.1)),
    Case("sigmoid", lambda x: mb.sigmoid(x=x), (ROWS,), ROWS.sigmoid()),
    Case("sigmoid_hard", lambda x: mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5), (ROWS,), F.hardsigmoid(ROWS)),
    Case("silu", lambda x: mb.silu(x=x), (ROWS,), F.silu(ROWS)),
    Case(
        "thresholded_relu",
        lambda x: mb.thresholded_relu(x=x, alpha=1.5),
        (torch.tensor([[-2.0, 0.5, 1.5, 3.0]]),),
        torch.tensor([[0.0, 0.0, 1.5, 3.0]]),
    ),
    Case("sqrt", lambda x: mb.sqrt(x=x), (ROWS.abs(),), ROWS.abs().sqrt()),
    Case("log", lambda x: mb.log(x=x), (ROWS.abs(),), ROWS.abs().log()),
    Case(
        "linear",
        lambda x: mb.linear(x=x, weight=OTHER.numpy(), bias=BIAS[:3].numpy()),
        (ROWS,),
        F.linear(ROWS, OTHER, BIAS[:3]),
    ),
    Case("ceil", lambda x: mb.ceil(x=x), (ROWS,), ROWS.ceil()),
    Case("floor", lambda x: mb.floor(x=x), (ROWS,), ROWS.floor()),
    Case("linear_activation", lambda x: mb.linear_activation(x=x, alpha=2.0, beta=0.5), (ROWS,), ROWS * 2 + 0.5),
    Case("clip", lambda x: mb.clip(x=x, alpha=-1.0, beta=2.0), (ROWS,), ROWS.clamp(-1, 2)),
    Case("softmax", lambda x: mb.softmax(x=x, axis=1), (MAP,), MAP.softmax(1)),
    Case("cast", lambda x: mb.cast(x=x, dtype="int32"), (ROWS,), ROWS.long(), "towards-zero"),
    Case("cast", lambda x: mb.cast(x=x, dtype="fp16"), (ROWS,), ROWS.half().float(), "half"),
    Case("equal", lambda x, y: _as_float(mb.equal(x=x, y=y)), (ROWS, ROWS.clone()), torch.ones(3, 6)),
    Case("not_equal", lambda x, y: _as_float(mb.not_equal(x=x, y=y)), (ROWS, OTHER), torch.ones(3, 6)),
    Case("greater", lambda x, y: _as_float(mb.greater(x=x, y=y)), (ROWS, OTHER), (ROWS > OTHER).float()),
    Case("greater_equal", lambda x, y: _as_float(mb.greater_equal(x=x, y=y)), (ROWS, ROWS), torch.ones(3, 6)),
    Case("less", lambda x, y: _as_float(mb.less(x=x, y=y)), (ROWS, ROWS), torch.zeros(3, 6)),
    Case("less_equal", lambda x, y: _as_float(mb.less_equal(x=x, y=y)), (ROWS, OTHER), (ROWS <= OTHER).float()),
    Case(
        "select",
        lambda x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y),
        (ROWS, OTHER),
        torch.maximum(ROWS, OTHER),
    ),
]


def _as_float(flags: Any) -> Any:
    return mb.cast(x=flags, dtype="fp32")


_WINDOWS = [
    Case("conv", _conv(pad_type="valid"), (MAP,), F.conv2d(MAP, KERNEL, BIAS, groups=2), "valid"),
    Case(
        "conv",
        _conv(strides=[2, 1], pad_type="custom", pad=[1, 1, 2, 2], dilations=[1, 2]),
        (MAP,),
        F.conv2d(MAP, KERNEL, BIAS, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        "custom",
    ),
    Case(
        "conv",
        _conv(pad_type="custom", pad=[0, 1, 2, 0]),
        (MAP,),
        F.conv2d(F.pad(MAP, (2, 0, 0, 1)), KERNEL, BIAS, groups=2),
        "uneven",
    ),
    Case(  # height 5, stride 2: 3 results, one row of padding on each side; width 7: 4 results, one on each side
        "conv",
        _conv(strides=[2, 2], pad_type="same"),
        (MAP,),
        F.conv2d(MAP, KERNEL, BIAS, stride=2, padding=1, groups=2),
        "same",
    ),
    Case(  # width 6, stride 2, kernel 3: one column of padding, to the right; "same_lower" would put it to the left
        "conv",
        _conv(strides=[1, 2], pad_type="same"),
        (MAP[..., :6],),
        F.conv2d(F.pad(MAP[..., :6], (0, 1, 1, 1)), KERNEL, BIAS, stride=(1, 2), groups=2),
        "same-even",
    ),
    Case(
        "max_pool",
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
        (MAP,),
        F.max_pool2d(MAP, 2),
    ),
    Case(
        "max_pool",
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[1, 1], pad_type="custom", pad=[0, 1, 0, 1]),
        (MAP - 50,),  # padding with zeros would win
        F.max_pool2d(F.pad(MAP - 50, (0, 1, 0, 1), value=-torch.inf), 2, 1),
        "padding-never-wins",
    ),
    Case(
        "avg_pool",
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], strides=[1, 2], pad_type="valid"),
        (MAP,),
        F.avg_pool2d(MAP, (2, 3), (1, 2)),
    ),
    Case(
        "avg_pool",
        lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="custom", pad=[1, 1, 1, 1]),
        (MAP,),
        F.avg_pool2d(MAP, 3, 1, padding=1),
        "padded",
    ),
    Case(
        "avg_pool",
        lambda x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[1, 1], pad_type="custom", pad=[1] * 4, exclude_padding_from_average=True
        ),
        (MAP,),
        F.avg_pool2d(MAP, 3, 1, padding=1, count_include_pad=False),
        "without-padding",
    ),
    Case(
        "upsample_nearest_neighbor",
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        (MAP,),
        MAP.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
]

_REDUCTIONS = [
    Case("reduce_max", lambda x: mb.reduce_max(x=x, axes=[-1], keep_dims=True), (ROWS,), ROWS.amax(-1, keepdim=True)),
    Case("reduce_min", lambda x: mb.reduce_min(x=x, axes=[0, 1], keep_dims=False), (MAP,), MAP.amin((0, 1))),
    Case("reduce_mean", lambda x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), (MAP,), MAP.mean((2, 3), True)),
    Case("reduce_sum", lambda x: mb.reduce_sum(x=x, axes=[1], keep_dims=False), (ROWS,), ROWS.sum(1)),
    Case(
        "topk",
        lambda x: mb.topk(x=x, k=2, axis=1),
        (torch.tensor([[1.0, 5.0, 3.0, 5.0]]),),
        (torch.tensor([[5.0, 5.0]]), torch.tensor([[1, 3]])),
        "ties-in-order",
    ),
    Case("topk", lambda x: mb.topk(x=x, k=2, axis=0, ascending=True)[0], (ROWS,), ROWS.sort(0).values[:2], "lowest"),
]

# The left half of the image, the same moved right by 0.1 (IoU 2/3), and the far right; scores of two classes.
_BOXES = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.35, 0.5, 0.5, 1.0], [0.95, 0.5, 0.1, 1.0]]])
_SCORES = torch.tensor([[[0.8, 0.0], [0.0, 0.9], [0.3, 0.2]]])


def _nms(**settings: Any) -> Callable[..., Any]:
    options = {"iou_threshold": 0.5, "score_threshold": 0.25, "max_boxes": 4} | settings
    return lambda x, y: mb.non_maximum_suppression(boxes=x, scores=y, **options)


def _rows(*kept: int) -> tuple[Tensor, ...]:
    """What the operator gives for these priors, in this order: padded to four rows, indices with -1."""
    boxes, scores = torch.zeros(1, 4, 4), torch.zeros(1, 4, 2)
    boxes[0, : len(kept)], scores[0, : len(kept)] = _BOXES[0, list(kept)], _SCORES[0, list(kept)]
    indices = torch.tensor([[*kept, *[-1] * (4 - len(kept))]])
    return boxes, scores, indices, torch.tensor([len(kept)])


_SUPPRESSION = [
    Case("non_maximum_suppression", _nms(), (_BOXES, _SCORES), _rows(1, 2)),
    Case("non_maximum_suppression", _nms(per_class_suppression=True), (_BOXES, _SCORES), _rows(1, 0, 2), "per-class"),
    Case("non_maximum_suppression", _nms(iou_threshold=0.67), (_BOXES, _SCORES), _rows(1, 0, 2), "iou"),
    Case("non_maximum_suppression", _nms(score_threshold=0.5), (_BOXES, _SCORES), _rows(1), "score"),
    Case("non_maximum_suppression", _nms(score_threshold=0.95), (_BOXES, _SCORES), _rows(1), "never-nothing"),
]

_SHAPES = [
    Case("concat", lambda x, y: mb.concat(values=[x, y], axis=-1), (ROWS, OTHER), torch.cat((ROWS, OTHER), -1)),
    Case("concat", lambda x: mb.concat(values=[x], axis=0), (ROWS,), ROWS, "of-one"),
    Case(
        "concat",
        lambda x: mb.concat(values=[x, OTHER.numpy()], axis=0),
        (ROWS,),
        torch.cat((ROWS, OTHER)),
        "with-constant",
    ),
    Case(
        "concat",
        lambda x, y: mb.concat(values=[x, y], axis=1, interleave=True),
        (torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])),
        torch.tensor([[1.0, 3.0, 2.0, 4.0]]),
        "interleaved",
    ),
    Case("expand_dims", lambda x: mb.expand_dims(x=x, axes=[0, -1]), (ROWS,), ROWS[None, ..., None]),
    Case("identity", lambda x: mb.identity(x=x), (ROWS,), ROWS),
    Case(
        "pad",
        lambda x: mb.pad(x=x, pad=[1, 0, 2, 3], mode="constant", constant_val=7.0),
        (MAP,),
        F.pad(MAP, (2, 3, 1, 0), value=7.0),
    ),
    Case(
        "pad",
        lambda x: mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 2, 0], mode="reflect"),
        (MAP,),
        F.pad(MAP, (2, 0, 1, 1), mode="reflect"),
        "reflect",
    ),
    Case("reshape", lambda x: mb.reshape(x=x, shape=[2, -1, 7]), (MAP,), MAP.reshape(2, 20, 7)),
    Case(
        "slice_by_index",
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 1, 0, 4], end=[0, 3, 0, 1], end_mask=[True, False, True, False], stride=[1, 1, 2, -2]
        ),
        (MAP,),
        MAP[:, 1:3, ::2, [4, 2]],
        "strides",
    ),
    Case(
        "slice_by_index",
        lambda x: mb.slice_by_index(
            x=x,
            begin=[1, 0, -2, 0],
            end=[0, 2, 0, 3],
            begin_mask=[False, True, False, False],
            end_mask=[False, False, True, False],
            squeeze_mask=[True, False, False, False],
        ),
        (MAP,),
        MAP[1, :2, -2:, :3],
        "squeeze",
    ),
    Case(
        "slice_by_index",
        lambda x: mb.slice_by_index(x=x, begin=[2, -1], end=[0, 0], stride=[-1, -1], end_mask=[True, True]),
        (ROWS,),
        ROWS.flip(0, 1),
        "two-negative-strides",
    ),
    Case("slice_by_size", lambda x: mb.slice_by_size(x=x, begin=[1, 2], size=[-1, 3]), (ROWS,), ROWS[1:, 2:5]),
    Case("split", lambda x: mb.split(x=x, num_splits=3, axis=1), (ROWS,), ROWS.chunk(3, 1)),
    Case("split", lambda x: mb.split(x=x, split_sizes=[1, 5], axis=1), (ROWS,), (ROWS[:, :1], ROWS[:, 1:]), "sizes"),
    Case("squeeze", lambda x: mb.squeeze(x=x, axes=[1]), (NARROW_MAP,), NARROW_MAP[:, 0]),
    Case("stack", lambda x, y: mb.stack(values=[x, y], axis=1), (ROWS, OTHER), torch.stack((ROWS, OTHER), 1)),
    Case("tile", lambda x: mb.tile(x=x, reps=[2, 1]), (ROWS,), ROWS.repeat(2, 1)),
    Case("transpose", lambda x: mb.transpose(x=x, perm=[0, 2, 3, 1]), (MAP,), MAP.permute(0, 2, 3, 1)),
]

CASES = [*_ELEMENTWISE, *_WINDOWS, *_REDUCTIONS, *_SUPPRESSION, *_SHAPES]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_agrees_with_torch(case: Case, tmp_path: Path) -> None:
    results = run(tmp_path / "one.mlpackage", case.build, *case.inputs)
    expected = case.expected if isinstance(case.expected, tuple) else (case.expected,)
    assert len(results) == len(expected)
    for result, tensor in zip(results, expected, strict=True):
        torch.testing.assert_close(result, tensor, rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    elsewhere = {"slice", "quantize", "dequantize"}  # see test_nn_loader, test_mil_quantize_ops
    assert {case.op for case in CASES} == set(OPERATORS) - elsewhere
