"""Video files <-> images, frame by frame; sound goes through untouched. PyAV, imported on first use, does the work."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.decoding import ImageError
from system.files import write_whole

# Container and codec by suffix. H.264 plays everywhere; WebM takes no H.264.
_FORMATS = {
    ".mp4": ("mp4", "libx264"),
    ".m4v": ("mp4", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mkv": ("matroska", "libx264"),
    ".webm": ("webm", "libvpx-vp9"),
}
VIDEO_SUFFIXES = frozenset(_FORMATS) | {".avi", ".mpg", ".mpeg", ".wmv", ".ts"}  # the last can be read alone
CONSTANT_QUALITY = {
    "libx264": "18",
    "libvpx-vp9": "24",
}  # CRF, finer than their own 23 and 31
HD_HEIGHT = 720  # from there on video without a note of its own is in BT.709, below in BT.601

StylizeFrame = Callable[[np.ndarray], np.ndarray]


def is_video(path: Path) -> bool:
    """Whether the suffix is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def check_video_suffix(path: Path) -> None:
    """Raises ImageError unless `stylize_video` can write such a file."""
    if path.suffix.lower() not in _FORMATS:
        raise ImageError(f"{path}: cannot be written as a video; end the name in one of {' '.join(_FORMATS)}")


def stylize_video(
    source_path: Path,
    target_path: Path,
    stylize: StylizeFrame,
    on_frame: Callable[[int, int], None] = lambda frames_done, frames: None,
) -> int:
    """Writes the clip with every frame replaced by stylize(image), images [H, W, 3] RGB float32 0..255.

    Frames come upright, one at a time, so memory does not grow with length. Times of frames and the sound streams are
    those of the source. `stylize` may change the size, for all frames alike; odd sides are extended by a pixel, which
    the codecs need. `on_frame` gets the frames done and how many there are, 0 where the file does not say.
    The file appears whole or not at all. Returns the number of frames. Raises ImageError.
    """
    check_video_suffix(target_path)
    import av

    with _av_errors(source_path, "is damaged or no video"):
        source = av.open(str(source_path))
    with source:
        if not source.streams.video:
            raise ImageError(f"{source_path}: holds no video stream; give a clip with pictures")
        target_path.parent.mkdir(parents=True, exist_ok=True)
        copy = _Copy(source, source_path, target_path, stylize, on_frame)
        try:
            write_whole(target_path, copy.write)
        except OSError as error:
            raise ImageError(f"{target_path}: cannot be written: {error.strerror or error}") from error
        return copy.frames_done


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a clip upright, [H, W, 3] RGB float32 0..255. Raises ImageError."""
    import av

    with _av_errors(path, "is damaged or no video"), av.open(str(path)) as source:
        for frame in source.decode(video=0):
            yield _image(frame)


class _Copy:
    """One clip being rewritten."""

    def __init__(
        self, source, source_path: Path, target_path: Path, stylize: StylizeFrame, on_frame: Callable
    ):
        self._source, self._source_path, self._target_path = source, source_path, target_path
        self._stylize, self._on_frame = stylize, on_frame
        self._format, self._codec = _FORMATS[target_path.suffix.lower()]
        self._video = source.streams.video[0]
        self._video.thread_type = "AUTO"
        self._pictures = None  # the stream written, once the first frame tells its size
        self.frames_done = 0

    def write(self, stream) -> None:
        import av

        sounds = list(self._source.streams.audio)
        with av.open(stream, "w", format=self._format) as target:
            copies = {sound.index: self._sound_copy(target, sound) for sound in sounds}
            waiting = []  # sound that comes before the first frame, when the streams are not complete yet
            for packet in self._packets(sounds):
                if packet.stream.index in copies:
                    waiting.append(packet)
                else:
                    for frame in self._frames(packet):
                        self._write_frame(target, frame)
                if self._pictures is not None:
                    self._write_sounds(target, waiting, copies)
            if self._pictures is None:
                raise ImageError(f"{self._source_path}: holds no frame that can be read; give another clip")
            target.mux(self._pictures.encode())
            self._write_sounds(target, waiting, copies)

    def _packets(self, sounds: list) -> Iterator:
        with _av_errors(self._source_path, "is damaged"):
            yield from self._source.demux(self._video, *sounds)

    def _frames(self, packet) -> list:
        with _av_errors(self._source_path, "is damaged"):
            return packet.decode()

    def _sound_copy(self, target, sound):
        try:
            return target.add_stream_from_template(sound)
        except Exception as error:  # PyAV raises several classes for a codec that the container does not take
            raise ImageError(
                f"{self._target_path}: cannot hold the sound of {self._source_path} ({sound.codec_context.name}); "
                "end the name in .mkv, which takes any"
            ) from error

    def _write_sounds(self, target, waiting: list, copies: dict) -> None:
        for packet in waiting:
            if packet.dts is not None:  # without one it is the flush at the end
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
        waiting.clear()

    def _write_frame(self, target, frame) -> None:
        import av

        image = np.rint(self._stylize(_image(frame)).clip(0, 255)).astype(np.uint8)
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._pictures is None:
            self._pictures = self._picture_stream(target, *image.shape[:2])
        matrix = _colour_matrix(*image.shape[:2])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=matrix)
        picture.pts, picture.time_base = frame.pts, frame.time_base
        target.mux(self._pictures.encode(picture))
        self.frames_done += 1
        self._on_frame(self.frames_done, self._video.frames)

    def _picture_stream(self, target, height: int, width: int):
        rate = self._video.average_rate or self._video.guessed_rate or Fraction(25)
        options = {"crf": CONSTANT_QUALITY[self._codec]}
        stream = target.add_stream(self._codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.time_base = self._video.time_base
        number = 1 if _colour_matrix(height, width) == "ITU709" else 5  # AVCOL_SPC_BT709, AVCOL_SPC_BT470BG
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 1
        return stream


def _colour_matrix(height: int, width: int) -> str:
    """What video of that size is written in."""
    return "ITU709" if min(height, width) >= HD_HEIGHT else "ITU601"


def _image(frame) -> np.ndarray:
    """A frame as an upright image."""
    unspecified = 2
    matrix = None if int(frame.colorspace) != unspecified else _colour_matrix(frame.height, frame.width)
    image = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray().astype(np.float32)
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(image, turns))


@contextlib.contextmanager
def _av_errors(path: Path, fault: str) -> Iterator[None]:
    """PyAV's errors to ImageError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise ImageError(f"{path}: {fault} ({reason}); give {_READABLE}") from error


_READABLE = f"a clip such as {' '.join(sorted(VIDEO_SUFFIXES))}"
