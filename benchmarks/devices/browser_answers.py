"""What the page posts, checked field by field before anything else sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import Field

from edgedet.runner import UnitDetections

_Text = Annotated[str, Field(max_length=1000)]
_Ms = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Unit = Annotated[float, Field(allow_inf_nan=False)]


class _Message(pydantic.BaseModel):
    """Of one opening of the page; `session` tells openings apart."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    session: Annotated[str, Field(max_length=40)]


class WebGpu(pydantic.BaseModel):
    there: bool
    text: _Text


class Browser(_Message):
    """What a browser tells about itself when it has opened the page.

    Attributes:
        user_agent, model, platform: model is empty where the browser keeps it to itself, as most do.
        cores: logical cores, as far as the browser admits.
        memory_gib: rounded by the browser; None where it does not tell.
        secure, isolated: https or this very machine; and cross-origin isolated, which threads need.
        clock_step_ms: smallest step of its clock that was seen.
    """

    user_agent: _Text
    model: _Text
    platform: _Text
    cores: Annotated[int, Field(ge=1, le=4096)]
    memory_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    secure: bool
    isolated: bool
    clock_step_ms: _Ms
    webgpu: WebGpu


class Found(pydantic.BaseModel):
    """Detections in one picture, as `UnitDetections`."""

    boxes_xyxy_unit: Annotated[list[tuple[_Unit, _Unit, _Unit, _Unit]], Field(max_length=10_000)]
    scores: list[Annotated[float, Field(ge=0, le=1.001)]]
    class_ids: list[Annotated[int, Field(ge=0, le=1_000_000)]]

    @pydantic.model_validator(mode="after")
    def _as_long(self) -> Found:
        if not len(self.boxes_xyxy_unit) == len(self.scores) == len(self.class_ids):
            raise ValueError("boxes, scores and classes differ in number")
        return self

    def detections(self) -> UnitDetections:
        boxes = np.array(self.boxes_xyxy_unit, np.float32).reshape(-1, 4)
        return UnitDetections(boxes, np.array(self.scores, np.float32), np.array(self.class_ids, np.int64))


class Measured(_Message):
    """Times and detections of one job; the names mean the same as in `Recording`."""

    job: Annotated[int, Field(ge=0)]
    status: Literal["measured"]
    runtime: _Text
    provider: _Text
    threads: Annotated[int, Field(ge=1, le=4096)]
    load_ms: _Ms
    first_ms: _Ms
    starts_s: list[_Ms]
    runs_ms: Annotated[list[_Ms], Field(min_length=1)]
    detections: list[Found]
    notes: Annotated[dict[_Text, _Text], Field(max_length=20)]

    @pydantic.model_validator(mode="after")
    def _as_long(self) -> Measured:
        if len(self.starts_s) != len(self.runs_ms):
            raise ValueError("runs and their starts differ in number")
        return self


class Refused(_Message):
    """A job that the browser could not do."""

    job: Annotated[int, Field(ge=0)]
    status: Literal["not run"]
    reason: _Text


class Done(_Message):
    """The page is through with all jobs that it can do."""

    results: Annotated[int, Field(ge=0)]


_RESULT: pydantic.TypeAdapter[Measured | Refused] = pydantic.TypeAdapter(
    Annotated[Measured | Refused, Field(discriminator="status")]
)

# By the address that takes them. pydantic.ValidationError is a ValueError.
READERS: Mapping[str, Callable[[bytes], Browser | Measured | Refused | Done]] = {
    "browser": Browser.model_validate_json,
    "result": _RESULT.validate_json,
    "done": Done.model_validate_json,
}
