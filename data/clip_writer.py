"""Writes a video file: pictures are encoded, sound is copied or transcoded. PyAV is imported on first use."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.clip_frames import LIMITED_RANGE, ClipFrame, even, frame_of
from data.clip_sound import ENCODERS, Sound, SoundCopy, TranscodedSound
from data.clip_source import SourceClip, can_decode
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
# Of sources with more than 8 bits per component: the first that the installed FFmpeg has for 10 bits.
DEEP_CODECS = {
    "mp4": ("libx265",),
    "mov": ("libx265",),
    "matroska": ("libx265",),
    "webm": ("libvpx-vp9", "libsvtav1"),
}
DEEP_FORMAT = "yuv420p10le"
LEAST_DEEP_SIDE = 64  # pixels; the encoders of 10 bits refuse tiny frames, which get 8 bits
# Constant rate factor by codec; a lower number is better. The codecs' own defaults are 23, 28, 31 and 35.
CONSTANT_QUALITY = {"libx264": "17", "libx265": "18", "libvpx-vp9": "24", "libsvtav1": "20"}
# Options beside it. x265 and SVT-AV1 would write lines of their own to stderr. The preset of x264 takes a third of the
# CPU time of its default, which the network needs: 13 in place of 38 ms for a frame of 640x360 pixels. With a quality
# one step higher, the error is larger by 0.3 dB and the file by a tenth.
_OPTIONS = {"libx264": {"preset": "veryfast"}, "libx265": {"x265-params": "log-level=none"}}
# Metadata of streams that is kept, and the names that it has in sources: MP4 files call a title "name".
_KEPT_METADATA = {"language": ("language",), "title": ("title", "name")}
MOST_WAITING_BYTES = 2**28  # of sound before the first picture, decoded where it is transcoded
MOST_REORDERED_SECONDS = 60  # that a frame is decoded before it is shown
MAX_SIDE = 16384  # pixels; x264 encodes no larger frames


class ClipWriter:
    """A video file that is being written to a stream; see `opened`.

    The first picture determines the size. Sound waits for it, because the file needs all its streams to begin.
    """

    def __init__(self, target, source: SourceClip, target_path: Path):
        self._target, self._source, self._target_path = target, source, target_path
        self._format = FORMATS[target_path.suffix.lower()][0]
        self._rate, self._time_base = source.rate, source.time_base
        self._times = Times(1 / self._rate / self._time_base, LEAST_STEP / self._time_base)
        self._transcoded: list[str] = []  # names of the codecs
        self._sounds = {sound.index: self._sound(sound) for sound in source.sounds}
        self._waiting: list[Sound] = []
        self._waiting_bytes = 0
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

    def notes(self) -> list[str]:
        """Returns one line for what the file stores in another form than the source."""
        if not self._transcoded:
            return []
        name, suffix = ENCODERS[self._format][1], self._target_path.suffix.lower()
        return [
            f"the sound ({', '.join(self._transcoded)}) was transcoded to {name}, which {suffix} can store"
        ]

    def write_picture(self, pixels: np.ndarray, source_frame: ClipFrame) -> None:
        """Writes one picture, uint8 or uint16, in place of a frame of the source."""
        pixels = even(pixels)
        with self._encoder_errors():
            if self._video is None:
                self._tags = source_frame.color_tags(*pixels.shape[:2])
                self._video = self._video_stream(*pixels.shape[:2], is_deep=source_frame.is_deep)
            video = self._video
            frame = frame_of(pixels, video.height, video.width, video.pix_fmt, self._tags)
            frame.pts, frame.time_base = self._times.following(source_frame.time), self._time_base
            self._target.mux(self._encoded(frame))
        self.write_sound([])

    def write_sound(self, sounds: Sequence[Sound]) -> None:
        """Writes packets of sound of the source, or keeps them until there is a picture."""
        import av

        self._waiting += sounds
        if self._video is None:
            self._waiting_bytes += sum(sound.size for sound in sounds)
            if self._waiting_bytes > MOST_WAITING_BYTES:
                raise ImageError(
                    f"{self._source.path}: its sound begins long before its first readable frame; cut off the start"
                )
            return
        for sound in self._waiting:
            with self._encoder_errors():
                try:
                    self._target.mux(self._sounds[sound.index].packets(sound))
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
            self._target.mux(self._encoded(None))
            for sound in self._sounds.values():
                self._target.mux(sound.rest())
            self._target.close()

    def _encoded(self, frame: Any) -> Iterator[Any]:
        """Yields what the encoder gives for a frame, or at the end for None, with decoding times that can be written.

        For a clip of one frame x265 gives a decoding time that it never set: any number.
        """
        for packet in self._video.encode(frame):
            if packet.pts is not None and packet.dts is not None:
                earliest = packet.pts - MOST_REORDERED_SECONDS / packet.time_base
                if not earliest <= packet.dts <= packet.pts:
                    packet.dts = packet.pts
            yield packet

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

    def _sound(self, sound) -> SoundCopy | TranscodedSound:
        try:
            stream = self._target.add_stream_from_template(sound)
            copy = SoundCopy(stream)
        except Exception as error:  # PyAV raises several classes if the container does not allow the codec
            if not can_decode(sound):
                raise self._sound_error(sound) from error
            copy = TranscodedSound(self._target, ENCODERS[self._format][0], sound)
            stream = copy.stream
            self._source.decoded_sounds.add(sound.index)
            self._transcoded.append(sound.codec_context.name)
        _keep_metadata(stream, sound)
        return copy

    def _sound_error(self, sound) -> ImageError:
        name = sound.codec_context.name if sound.codec_context else "of an unknown codec"
        is_mkv = self._format == "matroska"
        remedy = (
            "convert the sound to AAC first" if is_mkv else "end the name in .mkv, which stores most sounds"
        )
        return ImageError(
            f"{self._target_path}: cannot store the sound of {self._source.path} ({name}); {remedy}"
        )

    def _video_stream(self, height: int, width: int, *, is_deep: bool):
        if max(height, width) > MAX_SIDE:
            raise ImageError(
                f"{self._source.path}: frames of {width}x{height} pixels cannot be written, {MAX_SIDE} a side at"
                " most; give --max-side, or scale it down first"
            )
        is_deep = is_deep and min(height, width) >= LEAST_DEEP_SIDE
        deep_codec = _deep_codec(self._format) if is_deep else None
        codec = deep_codec or FORMATS[self._target_path.suffix.lower()][1]
        if codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only; it takes no option for this
        options = {"crf": CONSTANT_QUALITY[codec], **_OPTIONS.get(codec, {})}
        stream = self._target.add_stream(codec, rate=self._rate, options=options)
        stream.height, stream.width = height, width
        stream.pix_fmt = DEEP_FORMAT if deep_codec else "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        context.color_primaries, context.color_trc, context.colorspace = self._tags
        context.color_range = LIMITED_RANGE
        if codec == "libx265" and self._format in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # players of Apple know no other
        if self._source.video is not None:
            _keep_metadata(stream, self._source.video)
        return stream


def _deep_codec(container: str) -> str | None:
    """The codec for 10 bits; None if the installed FFmpeg has none for a container."""
    import av

    for name in DEEP_CODECS[container]:
        if name in av.codecs_available and any(
            pixel_format.name == DEEP_FORMAT for pixel_format in av.Codec(name, "w").video_formats or ()
        ):
            return name
    return None


def _keep_metadata(stream, source_stream) -> None:
    for name, source_names in _KEPT_METADATA.items():
        values = (source_stream.metadata.get(source_name) for source_name in source_names)
        if value := next(filter(None, values), None):
            stream.metadata[name] = value
    stream.disposition = source_stream.disposition
