"""Encode pictures as MP4 (H.264, yuv420p) and JPEG."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metarl.errors import MetarlError
from metarl.vector_env import Picture

FRAMES_PER_SECOND = 15
_CRF = "27"  # quality: 0 is lossless, 51 the worst
_PAPER, _INK = (24, 26, 30), (240, 240, 240)
_GAP = 4  # pixels between pictures


def mp4(frames: Sequence[Picture], frames_per_second: int = FRAMES_PER_SECOND) -> bytes:
    """Encode frames as an MP4; odd sides get one more pixel.

    Raises:
        MetarlError: if there are no frames, or the encoder fails.
    """
    if not frames:
        raise MetarlError("A video needs at least one frame, but there are none.")
    with tempfile.TemporaryDirectory(prefix="metarl-") as folder:
        path = Path(folder) / "video.mp4"
        try:
            _encode(frames, path, frames_per_second)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[-300:]
            raise MetarlError(f"FFmpeg cannot encode the video: {reason}") from error
        return path.read_bytes()


def jpeg(frame: Picture) -> bytes:
    """Return a picture as a JPEG."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, format="JPEG", quality=82)
    return content.getvalue()


def side_by_side(columns: Sequence[Sequence[Picture]], captions: Sequence[Sequence[str]]) -> list[Picture]:
    """Return several films as one, with lines of caption above each."""
    heads = [_caption(lines, frames[0].shape[1]) for frames, lines in zip(columns, captions, strict=True)]
    length = max(len(frames) for frames in columns)
    return [
        _join(
            [
                np.vstack([head, frames[min(i, len(frames) - 1)]])
                for head, frames in zip(heads, columns, strict=True)
            ]
        )
        for i in range(length)
    ]


def _encode(frames: Sequence[Picture], path: Path, frames_per_second: int) -> None:
    writer = imageio.get_writer(
        path,
        format="FFMPEG",
        mode="I",
        fps=frames_per_second,
        codec="libx264",
        pixelformat="yuv420p",
        quality=None,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=["-crf", _CRF, "-preset", "medium", "-movflags", "+faststart"],
    )
    with writer:
        for frame in frames:
            height, width = frame.shape[:2]
            # H.264 with 4:2:0 chroma needs even sides
            writer.append_data(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))


def _caption(lines: Sequence[str], width: int) -> Picture:
    """Draw white text on black, first line larger."""
    sizes = [max(12, width // 22)] + [max(10, width // 27)] * (len(lines) - 1)
    height = int(sum(1.45 * size for size in sizes)) + 10
    picture = Image.new("RGB", (width, height), _PAPER)
    drawing, top = ImageDraw.Draw(picture), 5.0
    for text, size in zip(lines, sizes, strict=True):
        drawing.text((10, top), text, fill=_INK, font=ImageFont.load_default(size))
        top += 1.45 * size
    return np.asarray(picture, np.uint8)


def _join(pictures: Sequence[Picture]) -> Picture:
    gap = np.full((pictures[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.hstack(parts[:-1])
