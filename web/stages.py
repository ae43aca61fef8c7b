"""How many photos are in work at once: while one is on the network, others are read and written.

A photo passes four gates. `line`: it is before or on the network; others wait here and hold no memory. `memory`: the
bytes of its pixels are reserved. `network`: it is computed. `finishing`: its picture is written. Nobody who waits for a
gate holds what those before the gate need, so there is no deadlock.
"""

from contextlib import ExitStack

from system.machine import available_cores, available_memory
from web.config import ServiceConfig
from web.turns import Deadline, Turns

AHEAD = 2  # photos that are read while another one is on the network
# Of the memory that is free at the start. The network takes up to 2.5 GB for 50 megapixels (transformer/inference/
# memory_plan.py), the rest is for what other programs take later.
PHOTOS_SHARE = 0.4
# Bytes that a photo takes per pixel at most, from decoding to encoding: measured at 12 megapixels in all formats. JPEG
# takes 14, a WebP file 22, a PNG file of 16 bits with transparency 33, while they are read or written.
PIXEL_BYTES, DEEP_PIXEL_BYTES, MASK_PIXEL_BYTES = 24, 40, 50


class Stages:
    """The gates of all requests of one process."""

    def __init__(self, config: ServiceConfig):
        ahead = min(AHEAD, config.max_waiting)
        self.network = Turns(config.max_waiting)
        self.line = Turns(config.max_waiting - ahead, room=1 + ahead, busy=self.network.busy)
        self.memory = Turns(room=max(1.0, PHOTOS_SHARE * available_memory()))
        self.finishing = Turns(room=available_cores())
        # Photos in work and waiting, each of which takes a thread.
        self.most_at_once = config.max_waiting + 1 + available_cores()

    def enter_memory(self, held: ExitStack, needed: float, deadline: Deadline) -> None:
        """Reserves the bytes of a photo until `held` is closed. Raises MemoryError if they are not free now."""
        held.enter_context(self.memory.turn(deadline, takes=needed))
        if needed > available_memory():
            raise MemoryError(f"{needed / 1e9:.1f} GB of memory are needed now and not free; try again later")
