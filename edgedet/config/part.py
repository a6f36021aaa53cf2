"""What all parts of a configuration have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a configuration: unknown fields are faults, and it does not change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
