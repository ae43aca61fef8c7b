"""The streams of sound of a clip in its stylized copy."""

from data.clip_times import LEAST_STEP, Times


class SoundCopy:
    """A stream of sound in the copy; its packets keep their times unless these repeat or go back."""

    def __init__(self, stream):
        self._stream = stream
        self._times: Times | None = None

    def packets(self, packet) -> list:
        """Makes `packet` one of this stream; returns what to write."""
        offset = packet.pts - packet.dts if None not in (packet.pts, packet.dts) else 0
        time = packet.pts if packet.dts is None else packet.dts
        if self._times is None:
            self._times = Times(packet.duration or LEAST_STEP / (packet.time_base or LEAST_STEP), 1)
        packet.dts = self._times.following(time)
        packet.pts = packet.dts + max(0, offset)
        packet.stream = self._stream
        return [packet]
