"""Writes a video file: pictures are encoded, sound is copied. PyAV is imported on first use."""

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.clip_frames import BT601, BT709, LIMITED_RANGE, frame_of, usual_matrix
from data.clip_sound import SoundCopy
from data.clip_source import SourceClip
from data.clip_times import LEAST_STEP, Times
from data.decoding import ImageError
from data.guarded_stream import GuardedStream, signals_wait

# Suffix -> container and codec. H.264 plays everywhere, but WebM does not allow it.
FORMATS = {
    ".mp4": ("mp4", "libx264"),
    ".m4v": ("mp4", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mkv": ("matroska", "libx264"),
    ".webm": ("webm", "libvpx-vp9"),
}
# Constant rate factor by codec; a lower number is better. The codecs' own defaults are 23 and 31.
CONSTANT_QUALITY = {"libx264": "18", "libvpx-vp9": "24"}
MAX_SIDE = 16384  # pixels; x264 encodes no larger frames
USUAL_RATE = Fraction(25)  # frames per second, of video that does not tell
MAX_RATE = 1000  # frames per second; what claims more does not tell either


class ClipWriter:
    """A video file that is being written to a stream; see `opened`.

    The first picture determines the size. Sound waits for it, because the file needs all its streams to begin.
    """

    def __init__(self, target, source: SourceClip, target_path: Path):
        self._target, self._source, self._target_path = target, source, target_path
        self._format, self._codec = FORMATS[target_path.suffix.lower()]
        self._rate = _frame_rate(source.video)
        self._time_base = source.video.time_base or LEAST_STEP / 90
        self._times = Times(1 / self._rate / self._time_base, LEAST_STEP / self._time_base)
        self._sounds = {sound.index: SoundCopy(self._sound_stream(sound)) for sound in source.sounds}
        self._waiting: list = []
        self._video = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, stream: BinaryIO, source: SourceClip, target_path: Path) -> Iterator["ClipWriter"]:
        """A writer to `stream`. The file is complete after `finish`."""
        import av

        guarded = GuardedStream(stream)
        with guarded.raised():
            target = av.open(guarded, "w", format=FORMATS[target_path.suffix.lower()][0])
            try:
                yield cls(target, source, target_path)
            except BaseException:
                with contextlib.suppress(av.FFmpegError), signals_wait():  # the file is incomplete anyway
                    target.close()
                raise

    def write_picture(self, pixels_u8: np.ndarray, time: int | None) -> None:
        """Writes one picture of even sides. time: that of the source's frame, in the time base of its stream."""
        with self._encoder_errors():
            if self._video is None:
                self._video = self._video_stream(*pixels_u8.shape[:2])
            frame = frame_of(pixels_u8, self._video.height, self._video.width)
            frame.pts, frame.time_base = self._times.following(time), self._time_base
            self._target.mux(self._video.encode(frame))
        self.write_sound([])

    def write_sound(self, packets: Sequence) -> None:
        """Writes packets of sound of the source, or keeps them until there is a picture."""
        import av

        self._waiting += packets
        if self._video is None:
            return
        for packet in self._waiting:
            with self._encoder_errors():
                try:
                    self._target.mux(self._sounds[packet.stream.index].packets(packet))
                except av.InvalidDataError:  # so damaged that it cannot be copied
                    self._source.note_damaged_sound()
        self._waiting.clear()

    def finish(self) -> None:
        """Writes what the encoder holds. Raises ImageError if there was no picture."""
        if self._video is None:
            fault = self._source.fault()
            raise ImageError(
                f"{self._source.path}: contains no readable frame{fault and f': {fault}'}; give another video"
            )
        with self._encoder_errors():
            self._target.mux(self._video.encode())
            self._target.close()

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

    def _sound_stream(self, sound):
        try:
            return self._target.add_stream_from_template(sound)
        except Exception as error:  # PyAV raises several classes if the container does not allow the codec
            name = sound.codec_context.name if sound.codec_context else "of an unknown codec"
            is_mkv = self._format == "matroska"
            remedy = (
                "convert the sound to AAC first"
                if is_mkv
                else "end the name in .mkv, which stores most sounds"
            )
            raise ImageError(
                f"{self._target_path}: cannot store the sound of {self._source.path} ({name}); {remedy}"
            ) from error

    def _video_stream(self, height: int, width: int):
        if max(height, width) > MAX_SIDE:
            raise ImageError(
                f"{self._source.path}: frames of {width}x{height} pixels cannot be written, {MAX_SIDE} a side at"
                " most; give --max-side, or scale it down first"
            )
        options = {"crf": CONSTANT_QUALITY[self._codec]}
        stream = self._target.add_stream(self._codec, rate=self._rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        codec_context = stream.codec_context
        codec_context.time_base = self._time_base
        codec_context.colorspace = BT709 if usual_matrix(height, width) == "ITU709" else BT601
        codec_context.color_range = LIMITED_RANGE
        return stream


def _frame_rate(video) -> Fraction:
    """The frame rate of a stream of PyAV; the usual one if the file does not tell or tells nonsense."""
    rates = (video.average_rate, video.guessed_rate)
    return next((rate for rate in rates if rate and 0 < rate <= MAX_RATE), USUAL_RATE)
