"""Reads and writes video files frame by frame. Sound is copied unchanged. PyAV is imported on first use."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.decoding import ImageError
from data.encoding import write_error
from data.images import quantized
from system.files import write_whole

# Suffix -> container and codec. H.264 plays everywhere, but WebM does not allow it.
_FORMATS = {
    ".mp4": ("mp4", "libx264"),
    ".m4v": ("mp4", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mkv": ("matroska", "libx264"),
    ".webm": ("webm", "libvpx-vp9"),
}
READ_ONLY_SUFFIXES = frozenset({".avi", ".mpg", ".mpeg", ".wmv", ".ts"})
VIDEO_SUFFIXES = frozenset(_FORMATS) | READ_ONLY_SUFFIXES
# Constant rate factor by codec; a lower number is better. The codecs' own defaults are 23 and 31.
CONSTANT_QUALITY = {"libx264": "18", "libvpx-vp9": "24"}
HD_HEIGHT = 720  # pixels; video without a color matrix is BT.709 from this size on, BT.601 below
# FFmpeg's numbers of color spaces (AVColorSpace) and of the limited color range (AVColorRange).
_BT709, _UNSPECIFIED, _BT601, _LIMITED_RANGE = 1, 2, 5, 1

StylizeFrame = Callable[[np.ndarray], np.ndarray]
OnFrame = Callable[[int, int], None]


def is_video(path: Path) -> bool:
    """Returns whether the suffix of a path is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def check_video_suffix(path: Path) -> None:
    """Raises ImageError unless `stylize_video` can write the format that the suffix names."""
    if path.suffix.lower() not in _FORMATS:
        raise ImageError(f"{path}: cannot be written as a video; end the name in one of {' '.join(_FORMATS)}")


def stylize_video(
    source_path: Path,
    target_path: Path,
    stylize: StylizeFrame,
    on_frame: OnFrame = lambda frames_done, frames: None,
) -> int:
    """Writes a copy of a video in which every frame is replaced by stylize(frame).

    Frames are decoded one at a time, so memory does not depend on the length. The times of the frames and the sound
    are those of the source. An older file is replaced, or kept unchanged if anything fails.

    Args:
        source_path: the video.
        target_path: the file to write; the suffix names the format.
        stylize: image [H, W, 3] -> image, RGB, float32, 0..255, upright. It may change the size, to the same size
            for all frames. Odd sides are extended by one pixel, because the codecs need even ones.
        on_frame: called after each frame with the number of frames done and the number of frames in total, 0 if
            the file does not tell.

    Returns:
        The number of frames.

    Raises:
        ImageError: the video cannot be read, or the target cannot be written.
    """
    check_video_suffix(target_path)
    import av

    with _av_errors(source_path, "is damaged or not a video"):
        source = av.open(str(source_path))
    with source:
        if not source.streams.video:
            raise ImageError(f"{source_path}: contains no video stream; give a file with pictures")
        target_path.parent.mkdir(parents=True, exist_ok=True)
        copy = _Copy(source, source_path, target_path, stylize, on_frame)
        try:
            write_whole(target_path, copy.write)
        except OSError as error:
            raise write_error(target_path, error) from error
        return copy.frames_done


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video, upright, [H, W, 3], RGB, float32, 0..255. Raises ImageError."""
    import av

    with _av_errors(path, "is damaged or not a video"), av.open(str(path)) as source:
        for frame in source.decode(video=0):
            yield _image(frame)


class _Copy:
    """The copy of one video while it is written."""

    def __init__(
        self, source, source_path: Path, target_path: Path, stylize: StylizeFrame, on_frame: OnFrame
    ):
        self._source, self._source_path, self._target_path = source, source_path, target_path
        self._stylize, self._on_frame = stylize, on_frame
        self._format, self._codec = _FORMATS[target_path.suffix.lower()]
        self._video = source.streams.video[0]
        self._video.thread_type = "AUTO"
        self._encoded_video = None  # the stream to write; the first stylized frame determines its size
        self.frames_done = 0

    def write(self, stream) -> None:
        """Writes the whole file to a binary stream."""
        import av

        audio_streams = list(self._source.streams.audio)
        with av.open(stream, "w", format=self._format) as target:
            copies = {audio.index: self._audio_copy(target, audio) for audio in audio_streams}
            waiting = []  # audio packets before the first frame; they need all streams to exist
            for packet in self._packets(audio_streams):
                if packet.stream.index in copies:
                    waiting.append(packet)
                else:
                    for frame in self._frames(packet):
                        self._write_frame(target, frame)
                if self._encoded_video is not None:
                    self._write_audio(target, waiting, copies)
            if self._encoded_video is None:
                raise ImageError(f"{self._source_path}: contains no readable frame; give another video")
            target.mux(self._encoded_video.encode())

    def _packets(self, audio_streams: list) -> Iterator:
        with _av_errors(self._source_path, "is damaged"):
            yield from self._source.demux(self._video, *audio_streams)

    def _frames(self, packet) -> list:
        with _av_errors(self._source_path, "is damaged"):
            return packet.decode()

    def _audio_copy(self, target, audio):
        try:
            return target.add_stream_from_template(audio)
        except Exception as error:  # PyAV raises several classes if the container does not allow the codec
            raise ImageError(
                f"{self._target_path}: cannot store the sound of {self._source_path} ({audio.codec_context.name}); "
                "end the name in .mkv, which stores any sound"
            ) from error

    def _write_audio(self, target, waiting: list, copies: dict) -> None:
        for packet in waiting:
            if packet.dts is not None:  # a packet without a time marks the end of the stream
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
        waiting.clear()

    def _write_frame(self, target, frame) -> None:
        import av

        pixels_u8 = quantized(self._stylize(_image(frame)), np.uint8)
        height, width = pixels_u8.shape[:2]
        pixels_u8 = np.pad(pixels_u8, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = pixels_u8.shape[:2]
        if self._encoded_video is None:
            self._encoded_video = self._video_stream(target, height, width)
        encoded = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_u8), format="rgb24")
        encoded = encoded.reformat(format="yuv420p", dst_colorspace=_color_matrix(height, width))
        encoded.pts, encoded.time_base = frame.pts, frame.time_base
        target.mux(self._encoded_video.encode(encoded))
        self.frames_done += 1
        self._on_frame(self.frames_done, self._video.frames)

    def _video_stream(self, target, height: int, width: int):
        rate = self._video.average_rate or self._video.guessed_rate or Fraction(25)
        options = {"crf": CONSTANT_QUALITY[self._codec]}
        stream = target.add_stream(self._codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        codec_context = stream.codec_context
        codec_context.time_base = self._video.time_base
        codec_context.colorspace = _BT709 if _color_matrix(height, width) == "ITU709" else _BT601
        codec_context.color_range = _LIMITED_RANGE
        return stream


def _color_matrix(height: int, width: int) -> str:
    """Returns PyAV's name of the color matrix that is usual for video of a size."""
    return "ITU709" if min(height, width) >= HD_HEIGHT else "ITU601"


def _image(frame) -> np.ndarray:
    """Converts a frame of PyAV to an upright image [H, W, 3]."""
    is_specified = int(frame.colorspace) != _UNSPECIFIED
    matrix = None if is_specified else _color_matrix(frame.height, frame.width)
    image = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray().astype(np.float32)
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise, like those of np.rot90
    return np.ascontiguousarray(np.rot90(image, turns))


@contextlib.contextmanager
def _av_errors(path: Path, fault: str) -> Iterator[None]:
    """Converts PyAV's exceptions to ImageError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or error
        allowed = " ".join(sorted(VIDEO_SUFFIXES))
        raise ImageError(f"{path}: {fault} ({reason}); give a video such as {allowed}") from error
