"""Frames of a video file in and out, through PyAV (the optional group `video`). Sound is not carried over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgedet.errors import DataError, NotRunError
from edgedet.preprocess import UInt8Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
_CLOCK = 90_000  # ticks a second: the usual clock of video containers; holds every common frame rate exactly


@dataclass(frozen=True)
class Frame:
    """One frame as a player shows it: (H, W, 3) uint8 RGB pixels, and the time since the start of the file."""

    pixels: UInt8Image
    time_s: float


@dataclass(frozen=True)
class VideoInput:
    """An opened video.

    Attributes:
        rate: frames a second as the file declares them; num_frames: likewise, None where it does not say.
        frames: all frames in order; to be consumed once.
    """

    rate: Fraction
    num_frames: int | None
    frames: Iterator[Frame]


@contextmanager
def open_video(path: Path) -> Iterator[VideoInput]:
    """Open a video to read its first picture stream.

    Raises:
        DataError: missing, not a video, damaged (also later, while frames are read).
        NotRunError: PyAV is not installed.
    """
    av = _pyav()
    with _readable(path):
        container = av.open(str(path))
    with container:
        if not container.streams.video:
            raise DataError(f"{path}: holds no pictures", "Give a video file.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = Fraction(stream.average_rate or 25)
        yield VideoInput(rate, stream.frames or None, _frames(path, container, stream, rate))


class VideoWriter:
    """Writes frames of one size to an .mp4: H.264 where PyAV has an encoder for it, else MPEG-4. A context manager."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        av = _pyav()
        self._make_frame = av.VideoFrame.from_ndarray
        self._container = av.open(str(path), "w")
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream: Any = self._container.add_stream(codec, rate=rate)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._last_pts = -1

    def write(self, frame: Frame) -> None:
        """Add a frame. Its time must not lie before the last one's."""
        height, width = frame.pixels.shape[:2]
        # The colour format has one colour for 2 x 2 pixels: an odd side is made even.
        even = np.pad(frame.pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._last_pts < 0:
            self._stream.height, self._stream.width = even.shape[:2]
        encoded = self._make_frame(even, format="rgb24")
        self._last_pts = max(round(frame.time_s * _CLOCK), self._last_pts + 1)
        encoded.pts, encoded.time_base = self._last_pts, Fraction(1, _CLOCK)
        self._container.mux(self._stream.encode(encoded))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._last_pts >= 0 and error_type is None:
            self._container.mux(self._stream.encode())
        self._container.close()


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise NotRunError("video: PyAV is not installed", "Install it with: pip install 'edgedet[video]'") from error
    return av


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what PyAV raises on a missing or damaged file into one clear error."""
    try:
        yield
    except (_pyav().FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: the video cannot be read ({reason})", "Convert it to MP4 (H.264) again.") from error


def _frames(path: Path, container: Any, stream: Any, rate: Fraction) -> Iterator[Frame]:
    """Decoded frames, turned as the file says (phones store portrait videos lying on their side)."""
    with _readable(path):
        for index, frame in enumerate(container.decode(stream)):
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))  # both counterclockwise
            time_s = float(frame.time) if frame.time is not None else float(index / rate)
            yield Frame(np.ascontiguousarray(pixels), time_s)
