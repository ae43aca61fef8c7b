"""Reads a video file packet by packet, and notes what of it is missing or damaged. PyAV is imported on first use.

FFmpeg gets an open file, never a name, because it takes names for URLs. It may open no other file and no
address, and may use only the demuxers of the documented formats, because some of the others open the files that a
text names.
"""

import contextlib
import errno
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from data.clip_formats import DECODERS, DEMUXERS, VIDEO_SUFFIXES
from data.clip_frames import ClipFrame
from data.clip_sound import Sound
from data.clip_structure import structure_fault
from data.clip_times import LEAST_STEP
from data.decoding import ImageError
from data.guarded_stream import GuardedStream, signals_wait
from system.files import NotAFile, open_regular
from system.machine import available_memory

MAX_FRAME_PIXELS = 100_000_000  # 12K video has 80 million; a file that claims more is more likely an attack
FRAME_BYTES = 40  # per pixel, while a frame is decoded, stylized and encoded
# A file that claims a duration is cut off if more than this is missing; containers round, and sound is a bit longer.
_TOLERANCE_SECONDS, _TOLERANCE_SHARE = 1.0, 0.05
USUAL_RATE = Fraction(25)  # frames per second, of video that does not tell
MAX_RATE = 1000  # frames per second; what claims more does not tell either
_MOST_READ_FAILURES = 50  # in a row; FFmpeg finds the next readable place by itself
# Demuxers that read the duration of each stream or of the file from it, or from the last time in the file.
_TELLS_STREAM_DURATION, _TELLS_DURATION = {"mov", "avi"}, {"matroska", "asf", "mpegts", "mpeg"}


def check_clip(path: Path) -> None:
    """Raises ImageError unless `path` is a file that can be opened and is not empty."""
    _opened(path).close()


class SourceClip:
    """A video file that is open for reading, for a `with` statement.

    video, sounds: PyAV's streams. frames: the number of frames read so far. decoded_sounds: indices of the sounds whose
    decoded frames are wanted. plays: how often an animation is to be shown, 0 for without end.
    Raises ImageError if the file cannot be read, is no video or is too large.
    """

    plays = 0

    def __init__(self, path: Path):
        self.path, self.frames = path, 0
        self.decoded_sounds: set[int] = set()
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(_opened(path))
            self._container = stack.enter_context(self._open_container())
            self.video, self.sounds = self._streams()
            self._check_size()
            self._resources = stack.pop_all()
        self._damaged_packets = {"video": 0, "sound": 0}
        self._intact_sounds: set[int] = set()  # streams of which a packet could be decoded
        self._has_key_frame = False
        self._read_faults: list[str] = []
        self._ends: dict[int, float] = {}  # stream -> where its last packet ends, in seconds

    def __enter__(self) -> "SourceClip":
        return self

    def __exit__(self, *error) -> None:
        self._resources.close()

    @property
    def size(self) -> tuple[int, int]:
        """The height and width that the file claims for its frames."""
        return self.video.height, self.video.width

    @property
    def frames_claimed(self) -> int:
        """The number of frames; 0 if the file does not tell."""
        return self.video.frames

    @property
    def rate(self) -> Fraction:
        """Frames per second; the usual number if the file does not tell or tells nonsense."""
        rates = (self.video.average_rate, self.video.guessed_rate)
        return next((rate for rate in rates if rate and 0 < rate <= MAX_RATE), USUAL_RATE)

    @property
    def time_base(self) -> Fraction:
        """The unit of the times of frames, in seconds."""
        return self.video.time_base or LEAST_STEP / 90

    def parts(self) -> Iterator:
        """Yields the frames (`ClipFrame`) and the packets of all sounds (`Sound`), in the order of the file.

        What cannot be decoded is left out and counted, see `fault`.
        """
        for packet in self._packets():
            if packet.stream.index == self.video.index:
                yield from self._decoded(packet)
            else:
                yield Sound(packet.stream.index, packet, self._decoded_sound(packet))
        yield from self._decoded(None)
        for index in self.decoded_sounds & self._intact_sounds:
            yield Sound(index, None, self._container.streams[index].codec_context.decode(None))

    def fault(self) -> str:
        """Returns what is missing or damaged, in a few words, once all parts were read; "" for nothing."""
        faults = [self._structure_fault(), *self._read_faults[:1]]
        claimed = self.video.frames
        if not self.frames and not self.video.width:  # FFmpeg forgets a size that is too large
            faults.append(f"frames must have a size, of at most {MAX_FRAME_PIXELS // 10**6} million pixels")
        for sound in self.sounds:
            if sound.index not in self._intact_sounds and sound.index in self._ends and can_decode(sound):
                faults.append("its sound cannot be decoded")
        for kind, count in self._damaged_packets.items():
            if count:
                faults.append(f"{count} {kind} packet{'s are' if count > 1 else ' is'} damaged")
        faults.append(self._duration_fault())
        faults = [fault for fault in dict.fromkeys(faults) if fault]
        if faults and claimed > self.frames:
            faults.append(f"{self.frames} of {claimed} frames could be read")
        return "; ".join(faults)

    def _structure_fault(self) -> str:
        try:
            return structure_fault(self._file, os.fstat(self._file.fileno()).st_size)
        except OSError as error:
            return f"it cannot be read ({error.strerror})"

    def _open_container(self):
        import av

        suffix = self.path.suffix.lower()  # all that FFmpeg needs of the name
        self._stream = GuardedStream(self._file, f"clip{suffix if suffix in VIDEO_SUFFIXES else ''}")
        options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "none"}
        options["codec_whitelist"] = ",".join(DECODERS)
        options["max_pixels"] = str(MAX_FRAME_PIXELS)
        try:
            with self._stream.raised(), signals_wait():
                return av.open(
                    self._stream, options=options, io_open=_refuse_other_files, metadata_errors="replace"
                )
        except (av.FFmpegError, OSError, ValueError) as error:
            is_refused = getattr(error, "errno", None) == errno.EINVAL  # by the list of demuxers
            reason = (
                "its format is not supported" if is_refused else getattr(error, "strerror", None) or "unknown"
            )
            reason = self._structure_fault() or reason
            allowed = " ".join(sorted(VIDEO_SUFFIXES))
            raise ImageError(
                f"{self.path}: is damaged or not a video ({reason}); give a video such as {allowed}"
            ) from error

    def _streams(self) -> tuple:
        from av.stream import Disposition

        # A cover picture, as music files have it, is a video stream too.
        videos = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not videos:
            raise ImageError(f"{self.path}: contains no video stream; give a file with pictures")
        if not can_decode(videos[0]):
            name = videos[0].codec_context.name if videos[0].codec_context else "unknown"
            raise ImageError(
                f"{self.path}: its video codec ({name}) is not supported; convert it to H.264 first"
            )
        videos[0].thread_type = "SLICE"  # with threads of whole frames an error loses the frames around it
        videos[0].codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        return videos[0], list(self._container.streams.audio)

    def _check_size(self) -> None:
        width, height = self.video.width, self.video.height
        claimed = f"{self.path}: its frames have {width}x{height} pixels"
        if width * height > MAX_FRAME_PIXELS:
            raise ImageError(f"{claimed}, more than {MAX_FRAME_PIXELS // 10**6} million; scale it down first")
        if width * height * FRAME_BYTES > available_memory():
            needed = width * height * FRAME_BYTES / 1e9
            raise ImageError(f"{claimed}, which take {needed:.1f} GB, more than is free; scale it down first")

    def _packets(self) -> Iterator:
        import av

        failures, packets = 0, None
        while failures < _MOST_READ_FAILURES:
            packets = packets or self._container.demux(self.video, *self.sounds)
            try:
                with self._stream.raised(), signals_wait():
                    packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                failures = failures + 1 if isinstance(error, av.FFmpegError) else _MOST_READ_FAILURES
                last = max(self._ends.values(), default=0.0)
                self._read_faults.append(f"it cannot be read at {last:.1f} s ({error.strerror or error})")
                packets = None  # an exception ends a generator
                continue
            failures = 0
            if packet is None:
                return
            if packet.size:  # packets without content mark the end
                self._note_end(packet)
                yield packet

    def _note_end(self, packet) -> None:
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None and packet.time_base:
            end = float((time + (packet.duration or 0)) * packet.time_base)
            self._ends[packet.stream.index] = max(end, self._ends.get(packet.stream.index, end))

    def _decoded(self, packet) -> Iterator:
        """Yields the frames of a video packet; None: those that the decoder still holds."""
        import av

        self._has_key_frame |= packet is not None and packet.is_keyframe
        # A recording may begin between two key frames. The decoder cannot read its first packets.
        counts = self._has_key_frame or self.frames > 0
        is_damaged, frames = packet is not None and self._is_cut(packet), []
        try:
            frames = self.video.codec_context.decode(packet)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            is_damaged = packet is not None
        is_damaged |= any(frame.is_corrupt for frame in frames)
        self._damaged_packets["video"] += is_damaged and counts
        self.frames += len(frames)
        yield from map(ClipFrame, frames)

    def _decoded_sound(self, packet) -> list:
        """Decodes a packet of sound, to find damage; returns the frames if they are wanted."""
        import av

        index, is_damaged, frames = packet.stream.index, self._is_cut(packet), []
        if can_decode(packet.stream):
            try:
                frames = packet.stream.codec_context.decode(packet)
                self._intact_sounds.add(index)
            except av.FFmpegError:
                # The first packets of a recording may be incomplete.
                is_damaged = index in self._intact_sounds
        self._damaged_packets["sound"] += is_damaged
        return frames if index in self.decoded_sounds else []

    def note_damaged_sound(self) -> None:
        """Counts a packet of sound that could be decoded but not copied."""
        self._damaged_packets["sound"] += 1

    def _is_cut(self, packet) -> bool:
        """Whether the file ends within the packet. FFmpeg says so too where recordings in MPEG-TS were joined."""
        return packet.is_corrupt and self._container.format.name != "mpegts"

    def _duration_fault(self) -> str:
        """Compares where the last packets end with the duration that the file claims, if it does."""
        name = self._container.format.name.partition(",")[0]
        index, claimed = self.video.index, None
        if name in _TELLS_STREAM_DURATION and self.video.duration and self.video.time_base:
            claimed = float((self.video.duration + (self.video.start_time or 0)) * self.video.time_base)
            end = self._ends.get(index, 0.0)
        elif name in _TELLS_DURATION and self._container.duration:
            claimed = (self._container.duration + (self._container.start_time or 0)) / 1e6
            end = max(self._ends.values(), default=0.0)
        if claimed is None or not math.isfinite(claimed):
            return ""
        is_short = claimed - end > max(_TOLERANCE_SECONDS, _TOLERANCE_SHARE * claimed)
        return f"it ends at {end:.1f} of {claimed:.1f} s" if is_short else ""


def _opened(path: Path) -> BinaryIO:
    """Opens a regular file that is not empty."""
    try:
        stream = open_regular(path)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the spelling") from error
    except NotAFile as error:
        kind = "a folder" if error.is_folder else "a device or pipe"
        raise ImageError(f"{path}: is {kind}, not a video file; give a video file") from error
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read: {error.strerror}; check the path and its permissions"
        ) from error
    if os.fstat(stream.fileno()).st_size == 0:
        stream.close()
        raise ImageError(f"{path}: is empty (0 bytes); give a video that is complete")
    return stream


def _refuse_other_files(url: str, flags: int, options: dict):
    raise PermissionError("a video may not open other files")


def can_decode(stream) -> bool:
    """Returns whether a stream of PyAV has a codec that is read."""
    context = stream.codec_context
    return context is not None and context.codec.name in DECODERS
