"""The flags of studio.py and serve.py: where they listen, and what they accept."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cli.flags import UsageError, knob

# Titles in --help, in the order in which it lists them.
ADDRESS = "the address"
LIMITS = "what one visitor may ask for"
GROUPS = (ADDRESS, LIMITS)
LOCAL_NAMES = ("localhost", "ip6-localhost")


@dataclass(frozen=True)
class ServiceConfig:
    """Flags of both doors. Times are seconds, sizes of files are megabytes (1e6 bytes)."""

    host: str = knob(
        "address to listen on; 127.0.0.1 is reached from this machine only, 0.0.0.0 from everywhere",
        "127.0.0.1",
        group=ADDRESS,
        metavar="ADDRESS",
    )
    public_host: tuple[str, ...] = knob(
        "names under which a proxy on this machine offers it, such as photos.example; a --host of this machine answers"
        " requests for its own names and these only",
        (),
        group=ADDRESS,
        metavar="NAME",
    )
    api_key: str | None = knob(
        "a secret that requests must send, 16 characters or more; better given as the environment variable"
        " FAST_STYLE_TRANSFER_API_KEY, because other users of the machine can see flags (default: none is needed)",
        group=ADDRESS,
        metavar="KEY",
    )
    port: int = knob(
        "port to listen on; 0: a free one, which is printed", 7860, group=ADDRESS, at_least=0, at_most=65535
    )
    max_waiting: int = knob(
        "photos that may wait for the network; further requests are refused with status 503",
        16,
        group=LIMITS,
        at_least=0,
        at_most=1000,
    )
    time_limit: float = knob(
        "seconds that one request may take, with the time in which it waits",
        120.0,
        group=LIMITS,
        metavar="SECONDS",
        above=0,
        at_most=86_400,
    )
    upload_limit: float = knob(
        "seconds that an upload may take", 60.0, group=LIMITS, metavar="SECONDS", above=0, at_most=86_400
    )
    stop_limit: float = knob(
        "seconds that photos in work may take after SIGTERM or Ctrl-C before they are given up",
        30.0,
        group=LIMITS,
        metavar="SECONDS",
        at_least=0,
        at_most=86_400,
    )
    max_connections: int = knob(
        "open connections; beyond that one is closed that is idle, or that sends next to nothing",
        1000,
        group=LIMITS,
        at_least=1,
        at_most=100_000,
    )
    max_upload: float = knob("largest file that is accepted", 50.0, group=LIMITS, metavar="MB", above=0)
    max_megapixels: float = knob(
        "largest photo that is accepted", 50.0, group=LIMITS, metavar="MEGAPIXELS", above=0
    )

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it: not through a proxy either."""
        return is_loopback(self.host) and not self.public_host

    @property
    def host_names(self) -> frozenset[str] | None:
        """What requests may call it beside the names of this machine; None: anything, not on a local address."""
        if not is_loopback(self.host):
            return None
        return frozenset(name.lower() for name in self.public_host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is that of this machine alone; False for names that are not known to be."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOCAL_NAMES


def check_public_hosts(config: ServiceConfig) -> None:
    """Raises UsageError for a --public-host that no request can name, such as a URL."""
    for name in config.public_host:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
            raise UsageError(
                f"--public-host {name}: is not a name such as photos.example; leave out https://, ports and paths"
            )


KEY_VARIABLE = "FAST_STYLE_TRANSFER_API_KEY"
LEAST_KEY_CHARACTERS = 16


def with_key(config: ServiceConfig, environment: Mapping[str, str]) -> ServiceConfig:
    """Returns the configuration with the key of the environment, if no flag gives one. Raises UsageError."""
    key = config.api_key if config.api_key is not None else environment.get(KEY_VARIABLE) or None
    if key is None:
        return config
    if len(key) < LEAST_KEY_CHARACTERS or not all("!" <= character <= "~" for character in key):
        raise UsageError(
            f"--api-key must have {LEAST_KEY_CHARACTERS} ASCII characters or more and no spaces;"
            ' make one with: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return replace(config, api_key=key)
