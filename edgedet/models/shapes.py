"""From convolution outputs to rows, one a prior."""

from __future__ import annotations

from torch import Tensor


def per_prior(head_output: Tensor, columns: int) -> Tensor:
    """(B, A * columns, H, W) to (B, H * W * A, columns) in prior order: row, column, anchor."""
    batch = head_output.shape[0]
    return head_output.permute(0, 2, 3, 1).reshape(batch, -1, columns)
