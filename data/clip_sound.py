"""The streams of sound of a clip in its stylized copy: copied, or transcoded where the container cannot store them."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from data.clip_times import LEAST_STEP, Times

# Container -> encoder and name of what it stores always.
ENCODERS = {
    "mp4": ("aac", "AAC"),
    "mov": ("aac", "AAC"),
    "matroska": ("aac", "AAC"),
    "webm": ("libopus", "Opus"),
}
BITS_PER_CHANNEL = {"aac": 96_000, "libopus": 64_000}  # per second; transparent for stereo
OPUS_RATE = 48_000  # samples per second; Opus has few others
AAC_RATES = frozenset(
    {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
)
# Channels -> the layout that both encoders take. Others become stereo.
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
BYTES_PER_SAMPLE = 4
MAX_GAP = 0.1  # seconds between two frames of sound that count as continuous; times in files are rounded


class Sound(NamedTuple):
    """A packet of sound of a source, and its decoded frames if somebody needs them.

    packet: None for what the decoder holds at the end. index: of its stream in the source.
    """

    index: int
    packet: Any
    frames: list

    @property
    def size(self) -> int:
        """About the bytes that it takes."""
        decoded = sum(BYTES_PER_SAMPLE * frame.samples * len(frame.layout.channels) for frame in self.frames)
        return decoded + (self.packet.size if self.packet is not None else 0)


class SoundCopy:
    """A stream of sound in the copy; its packets keep their times unless these repeat or go back."""

    def __init__(self, stream):
        self._stream = stream
        self._times: Times | None = None

    def packets(self, sound: Sound) -> list:
        """Makes the packet one of this stream; returns what to write."""
        packet = sound.packet
        if packet is None:
            return []
        offset = packet.pts - packet.dts if None not in (packet.pts, packet.dts) else 0
        time = packet.pts if packet.dts is None else packet.dts
        if self._times is None:
            self._times = Times(packet.duration or LEAST_STEP / (packet.time_base or LEAST_STEP), 1)
        packet.dts = self._times.following(time)
        packet.pts = packet.dts + max(0, offset)
        packet.stream = self._stream
        return [packet]

    def rest(self) -> list:
        """Returns what an encoder still holds."""
        return []


class TranscodedSound:
    """A stream of sound in the copy that is encoded anew. It begins when the source's does, and keeps long pauses."""

    def __init__(self, target, encoder: str, source_stream):
        rate, channels = source_stream.codec_context.sample_rate, source_stream.codec_context.channels
        self._rate = OPUS_RATE if encoder == "libopus" or rate not in AAC_RATES else rate
        self._layout = LAYOUTS.get(channels, "stereo")
        self._stream = target.add_stream(encoder, rate=self._rate, layout=self._layout)
        self._stream.bit_rate = BITS_PER_CHANNEL[encoder] * self._stream.codec_context.channels
        self._resampler, self._input = None, None  # the resampler, and the kind of frames that it takes
        self._next: int | None = None  # time of the next sample to encode, in samples
        self._expected = Fraction(0)  # time of the next frame of the source, in seconds, if there is no gap
        self._shift = Fraction(0)  # added to the times of the source since they went back

    @property
    def stream(self):
        """The stream of the copy."""
        return self._stream

    def packets(self, sound: Sound) -> list:
        """Returns what to write for a packet of the source."""
        packets = []
        for frame in sound.frames:
            for samples in self._resampled(frame):
                packets += self._stream.encode(samples)
        return packets

    def rest(self) -> list:
        """Returns what the encoder still holds."""
        packets = [packet for samples in self._flushed() for packet in self._stream.encode(samples)]
        return packets + (self._stream.encode(None) if self._next is not None else [])

    def _resampled(self, frame) -> Iterator:
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._input:
            yield from self._flushed()
            context = self._stream.codec_context
            self._resampler = av.AudioResampler(context.format.name, self._layout, self._rate)
            self._input = kind
        self._follow(frame)
        frame.pts = None
        yield from self._timed(self._resampler.resample(frame))

    def _flushed(self) -> Iterator:
        if self._resampler is not None:
            yield from self._timed(self._resampler.resample(None))
            self._resampler = None

    def _timed(self, frames: list) -> Iterator:
        for samples in frames:
            samples.pts, samples.time_base = self._next, Fraction(1, self._rate)
            self._next += samples.samples
            yield samples

    def _follow(self, frame) -> None:
        """Moves the time on where the source has a pause, and goes on without one where its times go back."""
        time = self._expected if frame.pts is None else frame.pts * frame.time_base + self._shift
        if self._next is None:
            self._next, self._expected = round(time * self._rate), time
        gap = time - self._expected
        if gap > MAX_GAP:
            self._next += round(gap * self._rate)
            self._expected = time
        elif gap < -MAX_GAP:
            self._shift -= gap
        self._expected += Fraction(frame.samples, frame.sample_rate)
