"""Reads and writes video files frame by frame. Sound is copied unchanged. PyAV is imported on first use."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from data.clip_source import SourceClip
from data.decoding import ImageError
from data.encoding import write_error
from data.guarded_stream import GuardedStream, signals_wait
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
# Constant rate factor by codec; a lower number is better. The codecs' own defaults are 23 and 31.
CONSTANT_QUALITY = {"libx264": "18", "libvpx-vp9": "24"}
MAX_SIDE = 16384  # pixels; x264 encodes no larger frames
HD_HEIGHT = 720  # pixels; video without a color matrix is BT.709 from this size on, BT.601 below
USUAL_RATE = Fraction(25)  # frames per second, of video that does not tell
MAX_RATE = 1000  # frames per second; what claims more does not tell either
MOST_SINGLE_REPEATS = 3  # times in a row that may repeat before the file counts as one without times
LEAST_STEP = Fraction(1, 1000)  # seconds between two frames; Matroska counts milliseconds
# FFmpeg's numbers of color spaces (AVColorSpace) and of the limited color range (AVColorRange).
_BT709, _UNSPECIFIED, _BT601, _LIMITED_RANGE = 1, 2, 5, 1

StylizeFrame = Callable[[np.ndarray], np.ndarray]
OnFrame = Callable[[int, int], None]


class DamagedClipError(ImageError):
    """A video was damaged or cut off. What could be read of it was written. The message tells what is missing."""


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
    are those of the source; where times are missing, repeat or go back, the frames follow each other at the frame
    rate. A frame that changes the size on the way is scaled to the size of the first. Transparency is dropped.
    An older file is replaced, or kept unchanged if anything fails.

    Args:
        source_path: the video.
        target_path: the file to write; the suffix names the format.
        stylize: image [H, W, 3] -> image, RGB, float32, 0..255, upright. It may change the size. Odd sides are
            extended by one pixel, because the codecs need even ones.
        on_frame: called after each frame with the number of frames done and the number of frames in total, 0 if
            the file does not tell.

    Returns:
        The number of frames.

    Raises:
        ImageError: the video cannot be read, or the target cannot be written.
        DamagedClipError: the video is damaged or cut off. The target was written from what could be read.
    """
    check_video_suffix(target_path)
    with SourceClip(source_path) as source:
        copy = _Copy(source, target_path, stylize, on_frame)
        copy.save()
        if fault := source.fault():
            raise DamagedClipError(
                f"{source_path}: is damaged or cut off: {fault}; wrote {target_path} with the"
                f" {copy.frames_done} frames that could be read"
            )
        return copy.frames_done


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video, upright, [H, W, 3], RGB, float32, 0..255.

    Raises ImageError, for a damaged video after its last frame.
    """
    with SourceClip(path) as source:
        for part in source.parts():
            if _is_frame(part):
                yield _image(part)
        if fault := source.fault():
            raise DamagedClipError(f"{path}: is damaged or cut off: {fault}")


class _Copy:
    """The copy of one video while it is written."""

    def __init__(self, source: SourceClip, target_path: Path, stylize: StylizeFrame, on_frame: OnFrame):
        self._source, self._target_path = source, target_path
        self._stylize, self._on_frame = stylize, on_frame
        self._format, self._codec = _FORMATS[target_path.suffix.lower()]
        self._rate = _frame_rate(source.video)
        self._time_base = source.video.time_base or LEAST_STEP / 90
        self._times = _Times(1 / self._rate / self._time_base, LEAST_STEP / self._time_base)
        self._encoded_video = None  # the stream to write; the first stylized frame determines its size
        self.frames_done = 0

    def save(self) -> None:
        """Writes the file; creates parent folders. Raises ImageError."""
        path, video = self._target_path, self._source.video
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(path, self._write)
        except OSError as error:
            raise write_error(path, error) from error
        except MemoryError as error:
            raise ImageError(
                f"{self._source.path}: too little memory for frames of {video.width}x{video.height} pixels;"
                " scale it down first"
            ) from error

    def _write(self, stream) -> None:
        import av

        guarded = GuardedStream(stream)
        with guarded.raised():
            target = av.open(guarded, "w", format=self._format)
            try:
                self._write_all(target)
            except BaseException:
                with contextlib.suppress(av.FFmpegError), signals_wait():  # the file is incomplete anyway
                    target.close()
                raise

    def _write_all(self, target) -> None:
        copies = {sound.index: _SoundCopy(self._audio_copy(target, sound)) for sound in self._source.sounds}
        waiting = []  # packets of sound before the first frame; they need all streams to exist
        for part in self._source.parts():
            if _is_frame(part):
                self._write_frame(target, part)
            else:
                waiting.append(part)
            if self._encoded_video is not None:
                self._write_sound(target, waiting, copies)
        self._finish(target)

    def _finish(self, target) -> None:
        if self._encoded_video is None:
            fault = self._source.fault()
            raise ImageError(
                f"{self._source.path}: contains no readable frame{fault and f': {fault}'}; give another video"
            )
        with self._encoder_errors():
            target.mux(self._encoded_video.encode())
            target.close()

    @contextlib.contextmanager
    def _encoder_errors(self) -> Iterator[None]:
        """Converts PyAV's exceptions to ImageError. Signals wait until the end of the context."""
        import av

        try:
            with signals_wait():
                yield
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            reason = error.strerror or type(error).__name__
            is_mkv = self._format == "matroska"
            remedy = "convert it to H.264 and AAC first" if is_mkv else "try a name that ends in .mkv"
            raise ImageError(
                f"{self._source.path}: cannot be written as {self._target_path} ({reason}); {remedy}"
            ) from error

    def _audio_copy(self, target, audio):
        try:
            return target.add_stream_from_template(audio)
        except Exception as error:  # PyAV raises several classes if the container does not allow the codec
            name = audio.codec_context.name if audio.codec_context else "of an unknown codec"
            is_mkv = self._format == "matroska"
            remedy = (
                "convert the sound to AAC first"
                if is_mkv
                else "end the name in .mkv, which stores most sounds"
            )
            raise ImageError(
                f"{self._target_path}: cannot store the sound of {self._source.path} ({name}); {remedy}"
            ) from error

    def _write_sound(self, target, waiting: list, copies: dict) -> None:
        import av

        for packet in waiting:
            copies[packet.stream.index].take(packet)
            with self._encoder_errors():
                try:
                    target.mux(packet)
                except av.InvalidDataError:  # so damaged that it cannot be copied
                    self._source.note_damaged_sound()
        waiting.clear()

    def _write_frame(self, target, frame) -> None:
        pixels_u8 = quantized(self._stylize(_image(frame)), np.uint8)
        height, width = pixels_u8.shape[:2]
        pixels_u8 = np.pad(pixels_u8, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._encoder_errors():
            if self._encoded_video is None:
                self._encoded_video = self._video_stream(target, *pixels_u8.shape[:2])
            encoded = self._encoder_frame(pixels_u8)
            time = frame.dts if frame.pts is None else frame.pts
            encoded.pts, encoded.time_base = self._times.following(time), self._time_base
            target.mux(self._encoded_video.encode(encoded))
        self.frames_done += 1
        self._on_frame(self.frames_done, self._source.video.frames)

    def _encoder_frame(self, pixels_u8: np.ndarray):
        import av

        height, width = self._encoded_video.height, self._encoded_video.width
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_u8), format="rgb24")
        matrix = _color_matrix(height, width)
        return frame.reformat(width=width, height=height, format="yuv420p", dst_colorspace=matrix)

    def _video_stream(self, target, height: int, width: int):
        if max(height, width) > MAX_SIDE:
            raise ImageError(
                f"{self._source.path}: frames of {width}x{height} pixels cannot be written, {MAX_SIDE} a side at"
                " most; give --max-side, or scale it down first"
            )
        options = {"crf": CONSTANT_QUALITY[self._codec]}
        stream = target.add_stream(self._codec, rate=self._rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        codec_context = stream.codec_context
        codec_context.time_base = self._time_base
        codec_context.colorspace = _BT709 if _color_matrix(height, width) == "ITU709" else _BT601
        codec_context.color_range = _LIMITED_RANGE
        return stream


class _Times:
    """Increasing times of frames or packets, from those of a file, which may be missing, repeat or go back.

    step: the usual distance of two, least: the least distance; both in units of the time base.
    """

    def __init__(self, step: Fraction | int, least: Fraction | int):
        self._least = max(1, -(-least // 1))
        self._step = max(self._least, round(step))
        self._last: int | None = None
        self._offset = 0  # added to the times of the file since they went back
        self._repeats = 0  # in a row

    def following(self, time: int | None) -> int:
        """Returns `time`, or a time after the last one if it is not later."""
        if self._last is None:
            self._last = time or 0
        elif time is None:
            self._last += self._step
        elif time + self._offset >= self._last + self._least:
            self._last, self._repeats = time + self._offset, 0
        elif self._last - time - self._offset > MOST_SINGLE_REPEATS * self._step:
            # Another recording was appended.
            self._last += self._step
            self._offset = self._last - time
        else:
            # Single times that repeat must not delay what follows. Where all do, the usual distance is the best guess.
            self._repeats += 1
            self._last += self._least if self._repeats <= MOST_SINGLE_REPEATS else self._step
        return self._last


class _SoundCopy:
    """A stream of sound in the copy; its packets keep their times unless these repeat or go back."""

    def __init__(self, stream):
        self._stream = stream
        self._times: _Times | None = None

    def take(self, packet) -> None:
        """Makes `packet` one of this stream."""
        offset = packet.pts - packet.dts if None not in (packet.pts, packet.dts) else 0
        time = packet.pts if packet.dts is None else packet.dts
        if self._times is None:
            self._times = _Times(packet.duration or LEAST_STEP / (packet.time_base or LEAST_STEP), 1)
        packet.dts = self._times.following(time)
        packet.pts = packet.dts + max(0, offset)
        packet.stream = self._stream


def _is_frame(part) -> bool:
    return hasattr(part, "reformat")  # packets have no pixels


def _frame_rate(video) -> Fraction:
    """The frame rate of a stream of PyAV; the usual one if the file does not tell or tells nonsense."""
    rates = (video.average_rate, video.guessed_rate)
    return next((rate for rate in rates if rate and 0 < rate <= MAX_RATE), USUAL_RATE)


def _color_matrix(height: int, width: int) -> str:
    """Returns PyAV's name of the color matrix that is usual for video of a size."""
    return "ITU709" if min(height, width) >= HD_HEIGHT else "ITU601"


def _image(frame) -> np.ndarray:
    """Converts a frame of PyAV to an upright image [H, W, 3]."""
    is_specified = int(frame.colorspace) != _UNSPECIFIED
    matrix = None if is_specified else _color_matrix(frame.height, frame.width)
    image = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray().astype(np.float32)
    angle = getattr(frame, "rotation", 0)  # a large number if the file has a display matrix of zeros
    turns = round(angle / 90) % 4 if abs(angle) <= 360 else 0  # counterclockwise, like those of np.rot90
    return np.ascontiguousarray(np.rot90(image, turns))
