"""Which range an activation gets from the values that were seen: one meter a tensor, fed image by image.

- minmax: the least and the greatest value ever seen.
- percentile: what all but 0.001 % of the values lie in; the rest is clipped.
- entropy: the range whose 256 steps lose the least information (Kullback-Leibler divergence between the values
  and their rounded selves), as S. Migacz, "8-bit inference with TensorRT", GTC 2017; here each end has its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.export.precisions import CALIBRATION_METHODS

_BINS = 8192  # over both signs
_SAMPLE = 2**17  # values of a tensor and image that a histogram counts
_PERCENT = 99.999  # 99.99 cut what a Tiny-YOLOv3 needs: single box codes then erred by one standard deviation, not 0.3
_LEVELS = 256
_CANDIDATES = 48  # ends of a range that entropy tries, down to this share of what was seen
_LEAST_SHARE = 0.1


class RangeMeter:
    """Least and greatest value, and for methods that clip also a histogram whose bins widen as needed.

    Memory: 64 kB. The order of the images does not matter for minmax.
    """

    def __init__(self, method: str) -> None:
        assert method in CALIBRATION_METHODS
        self.method = method
        self._low, self._high = np.inf, -np.inf
        self._reach = 0.0  # the bins cover -reach..reach; a power of two, so that bins merge in pairs
        self._counts = np.zeros(_BINS, np.float64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Values of one image, float of any shape."""
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        if self.method != CALIBRATION_METHODS[0]:
            flat = values.reshape(-1)
            self._count(flat[:: max(1, -(-flat.size // _SAMPLE))])

    def range(self) -> tuple[float, float]:
        """The range by the method; it holds 0, because zero padding must be exact."""
        low, high = {"minmax": self._extremes, "percentile": self._percentile, "entropy": self._entropy}[self.method]()
        return min(low, 0.0), max(high, 0.0)

    def _extremes(self) -> tuple[float, float]:
        return self._low, self._high

    def _count(self, values: npt.NDArray[Any]) -> None:
        most = float(np.abs(values).max())
        if most == 0:
            self._reach = self._reach or 2.0**-20
        elif most >= self._reach:
            self._widen(2.0 ** (np.floor(np.log2(most)) + 1))
        places = ((values + self._reach) * (_BINS / (2 * self._reach))).astype(np.int64)
        self._counts += np.bincount(places.clip(0, _BINS - 1), minlength=_BINS)

    def _widen(self, reach: float) -> None:
        while 0 < self._reach < reach:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.zeros(_BINS, np.float64)
            self._counts[_BINS // 4 : 3 * _BINS // 4] = merged
            self._reach *= 2
        self._reach = reach

    def _edges(self) -> npt.NDArray[np.float64]:
        return np.linspace(-self._reach, self._reach, _BINS + 1)

    def _percentile(self) -> tuple[float, float]:
        shares, edges = np.cumsum(self._counts) / self._counts.sum(), self._edges()
        outside = (1 - _PERCENT / 100) / 2
        first = int(np.searchsorted(shares, outside, side="right"))
        last = int(np.searchsorted(shares, 1 - outside, side="left"))
        return max(self._low, float(edges[first])), min(self._high, float(edges[min(last, _BINS - 1) + 1]))

    def _entropy(self) -> tuple[float, float]:
        """First the upper end is drawn in, then the lower; the least divergence wins, the wider range on ties."""
        low, high = min(self._low, 0.0), max(self._high, 0.0)
        # ReLU gives zeros by the thousand. Zero is exact by any scale, so they must not speak for a fine one.
        zero = _BINS // 2
        self._counts[zero] = min(self._counts[zero], self._counts[zero - 1 : zero + 2 : 2].max())
        if not self._counts.any():
            return low, high
        shares = [float(share) for share in np.geomspace(1.0, _LEAST_SHARE, _CANDIDATES)]
        high = min((high * share for share in shares), key=lambda end: self._divergence(low, end))
        low = min((low * share for share in shares), key=lambda end: self._divergence(end, high))
        return low, high

    def _divergence(self, low: float, high: float) -> float:
        """Of the values, clipped to the range, from the same values in _LEVELS steps."""
        edges = self._edges()
        first = int(np.searchsorted(edges, low, side="right")) - 1
        last = max(first + 1, int(np.searchsorted(edges, high, side="left")))
        inside = self._counts[first:last]
        clipped = inside.copy()
        clipped[0] += self._counts[:first].sum()
        clipped[-1] += self._counts[last:].sum()
        level = np.minimum(np.arange(inside.size) * _LEVELS // inside.size, _LEVELS - 1)
        filled = inside > 0
        mass = np.bincount(level, inside, _LEVELS)
        places = np.bincount(level, filled, _LEVELS)
        rounded = np.where(filled, (mass / np.maximum(places, 1))[level], 0.0)
        return _kullback_leibler(clipped, rounded)


def _kullback_leibler(true: npt.NDArray[np.float64], model: npt.NDArray[np.float64]) -> float:
    """Of two histograms; a bin that only `true` fills counts as if `model` had a little there."""
    p, q = true / true.sum(), model / max(model.sum(), 1e-12)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))).sum())
