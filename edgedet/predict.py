"""Detections of pictures, folders and videos: drawn, and as JSON in pixels of the original picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgedet.data.image import IMAGE_SUFFIXES, load_image
from edgedet.draw import draw_detections
from edgedet.errors import ConfigError, DataError, EdgedetError, NotRunError
from edgedet.files import atomic_path
from edgedet.preprocess import UInt8Image
from edgedet.progress import track
from edgedet.runner import Detections, Runner
from edgedet.video import VIDEO_SUFFIXES, Frame, VideoWriter, open_video

DRAWN_SCORE_MIN = 0.3  # where the user names no threshold, pictures show what an app would show


@dataclass(frozen=True)
class Prediction:
    """What was found in one picture or frame.

    Attributes:
        image: the file. width_px, height_px: of the picture as it is shown, which the boxes refer to.
        detections: best first. class_names: what their class ids mean.
        frame, time_s: number from 0 and time of a video's frame; None for a picture.
    """

    image: Path
    width_px: int
    height_px: int
    detections: Detections
    class_names: tuple[str, ...]
    frame: int | None = None
    time_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """One entry of the JSON list; "frame" and "time_s" only for videos."""
        found = self.detections
        moment = {} if self.frame is None else {"frame": self.frame, "time_s": self.time_s}
        rows = zip(found.boxes_xyxy_px.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True)
        return {
            "image": str(self.image),
            **moment,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "detections": [
                {"box_xyxy_px": box, "score": score, "class_id": class_id, "class_name": self.class_names[class_id]}
                for box, score, class_id in rows
            ],
        }


@dataclass(frozen=True)
class Outcome:
    """What became of one file: predictions (one, or one per frame) and the file written, or the error."""

    source: Path
    predictions: tuple[Prediction, ...] = ()
    written: Path | None = None
    error: EdgedetError | None = None


def predict(
    runner: Runner, source: Path, out: Path, score_min: float | None = None, progress: bool = True
) -> Iterator[Outcome]:
    """Detect in a picture, a video, or all pictures and videos of a folder, and write each with boxes to `out`.

    A file that cannot be read becomes an Outcome with an error, and the next one is tried.

    Args:
        source: the file or folder; folders inside a folder are not entered.
        out: folder for the results: JPEG stays JPEG, other pictures become PNG, videos MP4.
        score_min: keep detections from this score on. None keeps all that the file gives, and draws those from
            DRAWN_SCORE_MIN on.

    Raises:
        ConfigError: score_min below the file's own, or `out` is where the sources are.
        DataError: there is no such source, or it holds nothing to look at.
    """
    _check_score_min(runner, score_min)
    files = _files_of(source)
    if out.resolve() in {file.resolve().parent for file in files}:
        raise ConfigError(f"{out}: is the folder of the pictures, which would be overwritten", "Choose another --out.")
    return (_attempt(runner, file, out, score_min, progress) for file in _tracked(files, progress))


def _check_score_min(runner: Runner, score_min: float | None) -> None:
    baked = runner.spec.nms.score_min
    if score_min is not None and not baked <= score_min <= 1:
        raise ConfigError(
            f"score_min is {score_min:g}, but {runner.path} has {baked:g} baked in: boxes below are not in its output",
            f"Give a number from {baked:g} to 1, or export the file again with a lower --score-min.",
        )


def _files_of(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: there is no such picture, folder or video", "Check the path.")
    if not source.is_dir():
        return [source]
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in suffixes and file.is_file())
    if not files:
        raise DataError(f"{source}: holds no pictures or videos ({', '.join(suffixes)})", "Choose another folder.")
    return files


def _tracked(files: list[Path], progress: bool) -> Iterator[Path]:
    """With a bar for a folder; a single video has a bar of its own, and two cannot be shown at once."""
    if not progress or len(files) == 1 or any(_is_video(file) for file in files):
        return iter(files)
    return track(files, "detect")


def _attempt(runner: Runner, file: Path, out: Path, score_min: float | None, progress: bool) -> Outcome:
    try:
        if _is_video(file):
            return _predict_video(runner, file, out, score_min, progress)
        return _predict_picture(runner, file, out, score_min)
    except (DataError, NotRunError) as error:  # of this file; a full disk, say, concerns all
        return Outcome(file, error=error)


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _predict_picture(runner: Runner, file: Path, out: Path, score_min: float | None) -> Outcome:
    image = load_image(file)
    detections = _at_least(runner(image), score_min)
    keeps_name = file.suffix.lower() in (".jpg", ".jpeg", ".png")
    written = out / (file.name if keeps_name else f"{file.name}.png")
    with atomic_path(written) as temporary:
        Image.fromarray(_drawn(runner, image, detections, score_min)).save(temporary, quality=92)
    height, width = image.shape[:2]
    return Outcome(file, (Prediction(file, width, height, detections, runner.spec.class_names),), written)


def _predict_video(runner: Runner, file: Path, out: Path, score_min: float | None, progress: bool) -> Outcome:
    written = out / (file.name if file.suffix.lower() == ".mp4" else f"{file.name}.mp4")
    predictions = []
    with open_video(file) as video, atomic_path(written) as temporary, VideoWriter(temporary, video.rate) as writer:
        frames = track(video.frames, f"detect {file.name}", video.num_frames) if progress else video.frames
        for index, frame in enumerate(frames):
            detections = _at_least(runner(frame.pixels), score_min)
            height, width = frame.pixels.shape[:2]
            names = runner.spec.class_names
            predictions.append(Prediction(file, width, height, detections, names, index, frame.time_s))
            writer.write(Frame(_drawn(runner, frame.pixels, detections, score_min), frame.time_s))
        if not predictions:
            raise DataError(f"{file}: the video holds no frames", "Convert it to MP4 (H.264) again.")
    return Outcome(file, tuple(predictions), written)


def _at_least(found: Detections, score_min: float | None) -> Detections:
    if score_min is None:
        return found
    kept = found.scores >= np.float32(score_min)
    return Detections(found.boxes_xyxy_px[kept], found.scores[kept], found.class_ids[kept])


def shown(found: Detections, score_min: float | None) -> Detections:
    """Those of a prediction that are drawn: all from the user's threshold on, or from DRAWN_SCORE_MIN without one."""
    return _at_least(found, DRAWN_SCORE_MIN if score_min is None else score_min)


def _drawn(runner: Runner, image: UInt8Image, found: Detections, score_min: float | None) -> UInt8Image:
    visible = shown(found, score_min)
    labels = [runner.spec.class_names[class_id] for class_id in visible.class_ids]
    return draw_detections(image, visible.boxes_xyxy_px, labels, visible.scores, visible.class_ids)
