"""Fuzz target: damaged video files. `python -m fuzz.clip --cases 500`."""

import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from fuzz.engine import Target, main

# name -> container, codec of the video, codec of the sound, sample format of the sound
CLIPS = {
    "clip.mp4": ("mp4", "libx264", "aac", "fltp"),
    "fragments.mp4": ("mp4", "libx264", "aac", "fltp"),
    "clip.mov": ("mov", "mjpeg", "pcm_s16le", "s16"),
    "clip.mkv": ("matroska", "libx264", "aac", "fltp"),
    "clip.webm": ("webm", "libvpx-vp9", "libopus", "flt"),
    "clip.avi": ("avi", "mpeg4", "mp2", "s16"),
    "clip.ts": ("mpegts", "mpeg2video", "mp2", "s16"),
    "clip.mpg": ("mpeg", "mpeg2video", "mp2", "s16"),
    "clip.wmv": ("asf", "wmv2", "mp2", "s16"),
}
FRAMES, RATE, SIDE = 6, 25, 32
SAMPLE_RATE, SAMPLES = 48_000, 960  # of sound; samples per frame of the video


def make_clip(path: Path, container: str, codec: str, sound_codec: str, sample_format: str) -> Path:
    """Writes a clip of FRAMES gray frames and a tone."""
    import av

    options = {"movflags": "frag_keyframe+empty_moov"} if path.stem == "fragments" else {}
    with av.open(str(path), "w", format=container, options=options) as target:
        video = target.add_stream(codec, rate=RATE)
        video.width = video.height = SIDE
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        sound = target.add_stream(sound_codec, rate=SAMPLE_RATE)
        sound.layout = "mono"
        resampler = av.AudioResampler(format=sample_format, layout="mono", rate=SAMPLE_RATE)
        for index in range(FRAMES):
            target.mux(video.encode(_frame(index)))
            for samples in resampler.resample(_tone(index)):
                target.mux(sound.encode(samples))
        for stream in (video, sound):
            target.mux(stream.encode())
    return path


def _frame(index: int):
    import av

    pixels_u8 = np.full((SIDE, SIDE, 3), 40 * index, np.uint8)
    pixels_u8[: SIDE // 2, : 4 * index + 4] = (200, 60, 60)
    frame = av.VideoFrame.from_ndarray(pixels_u8, format="rgb24")
    frame.pts, frame.time_base = index, Fraction(1, RATE)
    return frame


def _tone(index: int):
    import av

    times = np.arange(index * SAMPLES, (index + 1) * SAMPLES)
    samples = av.AudioFrame.from_ndarray(
        np.sin(times / 10)[None].astype(np.float32), format="fltp", layout="mono"
    )
    samples.rate, samples.pts, samples.time_base = SAMPLE_RATE, int(times[0]), Fraction(1, SAMPLE_RATE)
    return samples


def seeds() -> Mapping[str, bytes]:
    """A clip of every container."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return {name: make_clip(Path(folder) / name, *clip).read_bytes() for name, clip in CLIPS.items()}


_SEEDS: dict[str, bytes] = {}


def _cached_seeds() -> Mapping[str, bytes]:
    if not _SEEDS:
        _SEEDS.update(seeds())
    return _SEEDS


def copy_clip(content: bytes, folder: Path) -> None:
    """Writes the clip with negative colors; what comes out must be whole, also from a damaged clip."""
    from data.decoding import ImageError
    from data.video import DamagedClipError, stylize_video

    source, target = folder / "damaged.mp4", folder / "copy.mkv"
    source.write_bytes(content)
    try:
        frames = stylize_video(source, target, lambda image: 255 - image)
    except DamagedClipError:
        _check_whole(target)
        raise
    except ImageError:
        assert not target.exists(), "a refused clip was written"
        raise
    assert _check_whole(target) == frames


def _check_whole(target: Path) -> int:
    from data.video import video_frames

    return sum(1 for _ in video_frames(target))


def refusals() -> tuple[type[Exception], ...]:
    from data.decoding import ImageError

    return (ImageError,)


TARGET = Target("clip", _cached_seeds, copy_clip, refusals, seconds=30.0)

if __name__ == "__main__":
    sys.exit(main(TARGET))
