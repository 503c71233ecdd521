"""What is encoded can be played everywhere, and holds the frames that it was given."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from metarl.errors import MetarlError
from metarl.reporting.video import encode
from metarl.vector_env import Picture

Pictures: TypeAlias = npt.NDArray[np.uint8]


def grey(level: int, height: int = 48, width: int = 64) -> Picture:
    return np.full((height, width, 3), level, np.uint8)


def decoded(content: bytes, folder: Path) -> tuple[str, Pictures]:
    """Return what FFmpeg says of a video's stream, and its frames ``[n, height, width, 3]``."""
    path = folder / "video.mp4"
    path.write_bytes(content)
    command = [get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    (stream,) = re.findall(r"Stream #0:0.*?: Video: (.*)", done.stderr.decode().partition("Output #0")[0])
    size = re.search(r", (\d+)x(\d+)", stream)
    assert size is not None
    return stream, np.frombuffer(done.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)


def test_video_holds_its_frames_in_order(tmp_path: Path) -> None:
    levels = [20, 90, 160, 230]
    _, frames = decoded(encode.mp4([grey(level) for level in levels]), tmp_path)
    np.testing.assert_allclose([frame.mean() for frame in frames], levels, atol=6)


def test_video_is_h264_that_every_browser_plays(tmp_path: Path) -> None:
    stream, frames = decoded(encode.mp4([grey(0)] * 3, 15), tmp_path)
    assert stream.startswith("h264")
    assert " yuv420p(" in stream
    assert " 15 fps" in stream
    assert frames.shape == (3, 48, 64, 3)


def test_video_begins_with_what_a_browser_needs_first() -> None:
    content = encode.mp4([grey(0)] * 3)
    assert content.index(b"moov") < content.index(b"mdat")


def test_odd_sides_get_a_pixel(tmp_path: Path) -> None:
    _, frames = decoded(encode.mp4([grey(100, height=33, width=51)] * 2), tmp_path)
    assert frames.shape == (2, 34, 52, 3)


def test_video_of_nothing_is_refused() -> None:
    with pytest.raises(MetarlError, match=r"needs at least one frame, but there are none\."):
        encode.mp4([])


def test_encoder_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no such\nencoder")

    monkeypatch.setattr(encode, "_encode", fail)
    with pytest.raises(MetarlError, match=r"^FFmpeg cannot encode the video: no such encoder$"):
        encode.mp4([grey(0)])


def test_jpeg_is_the_picture() -> None:
    picture = np.asarray(Image.open(io.BytesIO(encode.jpeg(grey(77)))))
    assert picture.shape == (48, 64, 3)
    np.testing.assert_allclose(picture, 77, atol=2)


def test_shorter_film_stands_still_at_its_end_beside_the_longer() -> None:
    films = [[grey(10), grey(20), grey(30)], [grey(200)]]
    frames = encode.side_by_side(films, [["one", "more"], ["two", "more"]])
    assert [frame[-1, 0, 0] for frame in frames] == [10, 20, 30]
    assert [frame[-1, -1, 0] for frame in frames] == [200, 200, 200]
    assert frames[0].shape[1] > 2 * 64


def test_caption_stands_above_the_picture() -> None:
    (plain,), (captioned,) = (encode.side_by_side([[grey(10)]], [[text]]) for text in ("", "before"))
    head = captioned.shape[0] - 48
    assert (plain[:head] != captioned[:head]).any()
    np.testing.assert_array_equal(captioned[head:], grey(10))
