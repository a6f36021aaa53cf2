"""Weights of an ML program: the blob storage file (MILBlob, version 2) that constants point into.

Layout, all little-endian: a header of 64 bytes (uint32 count, uint32 version); at each offset that a constant names, an
entry of 64 bytes (uint32 sentinel 0xDEADBEEF, uint32 type, uint64 size in bytes, uint64 offset of the data, uint64
unused bits at the end). Numbers of less than a byte follow each other without gaps, the first in the lowest bits.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.errors import ModelFileError
from edgedet.export.mil_constexpr import unpack_bits

_SENTINEL = 0xDEADBEEF
_VERSION = 2
_ENTRY = struct.Struct("<IIQQQ")
_TYPES: dict[int, type[np.generic]] = {
    1: np.float16, 2: np.float32, 3: np.uint8, 4: np.int8, 6: np.int16, 7: np.uint16, 14: np.int32, 15: np.uint32
}  # fmt: skip
_PACKED_BITS = {8: 4, 9: 1, 10: 2, 11: 4, 12: 3, 13: 6}  # type to bits of a number
_INT4 = 8  # the only signed one
_REMEDY = "The package is damaged; copy or export it again."


def _mapped(path: Path) -> Any:
    """Not read: a look at one constant of a large model must not load all of it. An empty file cannot be mapped."""
    return np.memmap(path, mode="r") if path.stat().st_size else b""


class BlobFile:
    """An open weight file.

    Raises:
        ModelFileError: missing, or not a blob file of the version that iOS 15 and later read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = _mapped(path)
        except OSError as error:
            raise ModelFileError(f"{path}: the weights cannot be read ({error.strerror})", _REMEDY) from error
        if len(self._bytes) < 64 or struct.unpack_from("<I", self._bytes, 4)[0] != _VERSION:
            raise ModelFileError(f"{path}: not a weight file of a Core ML package", _REMEDY)

    def read(self, offset: int) -> npt.NDArray[Any]:
        """The flat array whose entry is at `offset`.

        Raises:
            ModelFileError: outside the file (which is then truncated), no entry there, or of an unknown type.
        """
        try:
            sentinel, kind, size, start, unused_bits = _ENTRY.unpack_from(self._bytes, offset)
        except struct.error as error:
            raise ModelFileError(f"{self.path}: the weights are truncated (no entry at {offset})", _REMEDY) from error
        if sentinel != _SENTINEL or kind not in _TYPES | _PACKED_BITS:
            raise ModelFileError(f"{self.path}: there is no readable weight at {offset}", _REMEDY)
        if start + size > len(self._bytes):
            raise ModelFileError(f"{self.path}: the weights are truncated (entry at {offset})", _REMEDY)
        if kind in _PACKED_BITS:
            packed = np.frombuffer(self._bytes, np.uint8, size, start)
            return self._unpacked(packed, kind, unused_bits)
        dtype = np.dtype(_TYPES[kind])
        return np.frombuffer(self._bytes, dtype, size // dtype.itemsize, start)

    def _unpacked(self, packed: npt.NDArray[Any], kind: int, unused_bits: int) -> npt.NDArray[Any]:
        bits = _PACKED_BITS[kind]
        count, rest = divmod(packed.size * 8 - unused_bits, bits)
        if rest or not 0 <= unused_bits < 8:
            raise ModelFileError(f"{self.path}: {packed.size} bytes do not hold numbers of {bits} bits", _REMEDY)
        numbers = unpack_bits(packed, bits, count)
        return (numbers.astype(np.int8) ^ 8) - 8 if kind == _INT4 else numbers
