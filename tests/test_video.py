"""Video frames in and out: sizes, times, turned phone videos, damaged files."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgedet.errors import DataError
from edgedet.video import Frame, VideoWriter, open_video

pytest.importorskip("av", reason="not run: PyAV is not installed")

TIMES_S = [0.0, 0.04, 0.08, 0.2, 0.24]  # one frame is late, as phones record


def picture(width: int, height: int) -> np.ndarray:
    """Left half white: which side is which survives compression."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = 255
    return image


def write_video(path: Path, width: int = 64, height: int = 48) -> Path:
    with VideoWriter(path, Fraction(25)) as writer:
        for time_s in TIMES_S:
            writer.write(Frame(picture(width, height), time_s))
    return path


def read_video(path: Path) -> list[Frame]:
    with open_video(path) as video:
        return list(video.frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_frames_and_their_times_come_back(tmp_path: Path, suffix: str) -> None:
    frames = read_video(write_video(tmp_path / f"clip{suffix}"))
    assert [frame.time_s for frame in frames] == pytest.approx(TIMES_S, abs=1e-3)
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3)
        assert frame.pixels.dtype == np.uint8
        assert abs(frame.pixels.astype(int) - picture(64, 48)).mean() < 8


def test_odd_sides_get_one_more_pixel(tmp_path: Path) -> None:
    assert read_video(write_video(tmp_path / "clip.mp4", 63, 47))[0].pixels.shape == (48, 64, 3)


def test_a_turned_phone_video_is_shown_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    content = path.read_bytes()
    one, minus_one, corner = 1 << 16, -(1 << 16), 1 << 30
    as_stored = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, corner)
    clockwise = struct.pack(">9i", 0, one, 0, minus_one, 0, 0, 0, 0, corner)  # ISO 14496-12, section 6.2.2
    track = content.index(b"tkhd")
    start = content.index(as_stored, track)
    path.write_bytes(content[:start] + clockwise + content[start + len(clockwise) :])
    frame = read_video(path)[0].pixels
    assert frame.shape == (64, 48, 3)
    assert frame[:30].mean() > 200  # the left half is now at the top
    assert frame[34:].mean() < 50


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(DataError, match=r"notes\.mp4: the video cannot be read"):
        read_video(path)
    with pytest.raises(DataError, match=r"gone\.mp4: the video cannot be read \(No such file"):
        read_video(tmp_path / "gone.mp4")


def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-200])  # cuts into the index at the end
    with pytest.raises(DataError, match=r"clip\.mp4: the video cannot be read"):
        read_video(path)


def test_an_error_of_the_reader_of_frames_stays_itself(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    with pytest.raises(OSError, match="mine"), open_video(path) as video:
        for _ in video.frames:
            raise OSError("mine")
