"""The flags of studio.py and serve.py: where they listen, and what they accept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cli.flags import UsageError, knob

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
        "open connections; beyond that the one that has been idle for longest is closed",
        1000,
        group=LIMITS,
        at_least=1,
        at_most=100_000,
    )
    max_upload: float = knob("largest file that is accepted", 50.0, group=LIMITS, metavar="MB", above=0)
    max_megapixels: float = knob(
        "largest photo that is accepted", 50.0, group=LIMITS, metavar="MEGAPIXELS", above=0
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
