"""The flags of studio.py and serve.py: where they listen, and what they accept."""

from dataclasses import dataclass

from cli.flags import knob

# Titles in --help, in the order in which it lists them.
ADDRESS = "the address"
LIMITS = "what one visitor may ask for"
GROUPS = (ADDRESS, LIMITS)


@dataclass(frozen=True)
class ServiceConfig:
    """Flags of both doors. Times are seconds, sizes of files are megabytes (1e6 bytes)."""

    host: str = knob(
        "address to listen on; 127.0.0.1 is reached from this machine only, 0.0.0.0 from everywhere",
        "127.0.0.1",
        group=ADDRESS,
        metavar="ADDRESS",
    )
    port: int = knob("port to listen on", 7860, group=ADDRESS, at_least=1, at_most=65535)
    max_waiting: int = knob(
        "photos that may wait for the network; further requests are refused with status 503",
        16,
        group=LIMITS,
        at_least=0,
        at_most=10_000,
    )
    time_limit: float = knob(
        "seconds that one request may take, with the time in which it waits",
        120.0,
        group=LIMITS,
        metavar="SECONDS",
        above=0,
    )
    max_upload: float = knob("largest file that is accepted", 50.0, group=LIMITS, metavar="MB", above=0)
    max_megapixels: float = knob(
        "largest photo that is accepted", 50.0, group=LIMITS, metavar="MEGAPIXELS", above=0
    )
