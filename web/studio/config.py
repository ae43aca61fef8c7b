"""The flags of studio.py: those of the service, who may use the page, and what it offers beside styles."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.flags import UsageError, check_ranges, knob
from web.config import ADDRESS, LIMITS, ServiceConfig, check_public_hosts

# Titles in --help, in the order in which it lists them.
PLACES = "styles, photos and weights"
TRAINING = "training and the slow method, which take all cores for minutes"
GROUPS = (ADDRESS, LIMITS, PLACES, TRAINING)
AUTH_VARIABLE = "FAST_STYLE_TRANSFER_AUTH"


@dataclass(frozen=True)
class StudioConfig(ServiceConfig):
    """Flags of studio.py."""

    auth: tuple[str, ...] = knob(
        "who may use the studio: USER:PASSWORD, or a file with one USER:PASSWORD a line, which other users of this"
        f" machine cannot see in its list of processes (default: environment variable {AUTH_VARIABLE}, or everyone)",
        (), group=ADDRESS, metavar="USER:PASSWORD|FILE",
    )  # fmt: skip
    max_clip_frames: int = knob(
        "longest clip that is accepted, in frames", 1800, group=LIMITS, metavar="FRAMES", at_least=1
    )
    clip_time_limit: float = knob(
        "seconds that one clip may take", 1800.0, group=LIMITS, metavar="SECONDS", above=0
    )
    styles_dir: Path | None = knob(
        "folder of the styles, and of those that are trained here (default: that of this project)",
        group=PLACES, metavar="FOLDER",
    )  # fmt: skip
    content_dir: tuple[Path, ...] = knob(
        "folders of photos that visitors may choose to train on", (), group=PLACES, metavar="FOLDER"
    )
    vgg: Path | None = knob(
        "VGG19 weights for training and the slow method: Keras *_notop.h5, MatConvNet .mat, or .npz (default:"
        " downloaded by Keras)",
        group=PLACES,
    )  # fmt: skip
    runs_dir: Path = knob(
        "folder for the states and logs of trainings; visitors may resume those that are there",
        Path("runs", "studio"), group=PLACES, metavar="FOLDER",
    )  # fmt: skip
    no_training: bool = knob("leave out training and the slow method", False, group=TRAINING)
    allow_training: bool = knob(
        "offer them to other machines too; without this flag only a --host of this machine without --public-host offers"
        " them",
        False, group=TRAINING,
    )  # fmt: skip
    max_training_steps: int = knob(
        "longest training that a visitor may start", 20_000, group=TRAINING, metavar="STEPS", at_least=1
    )

    @property
    def offers_training(self) -> bool:
        """Whether visitors may train styles and use the slow method."""
        return not self.no_training and (self.is_local or self.allow_training)


def check_config(config: StudioConfig) -> None:
    """Raises UsageError for flags that are out of range or contradict each other, and for folders that are missing."""
    check_ranges(config)
    check_public_hosts(config)
    if config.no_training and config.allow_training:
        raise UsageError("--no-training and --allow-training cannot be used together; give one of them")
    for folder in config.content_dir:
        if not folder.is_dir():
            raise UsageError(f"--content-dir {folder}: is not a folder; give a folder of photos")
    names = [folder_name(folder) for folder in config.content_dir]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--content-dir: two folders are called {name}; visitors choose by name, so rename one"
            )
    if config.vgg is not None and not config.vgg.is_file():
        raise UsageError(f"--vgg {config.vgg}: is not a file; give a file of VGG19 weights")


def folder_name(folder: Path) -> str:
    """What visitors see of a folder of photos."""
    return folder.resolve().name or str(folder)


def accounts(config: StudioConfig) -> list[tuple[str, str]]:
    """Returns (user, password) of everyone who may use the studio; empty means everyone may. Raises UsageError."""
    given = config.auth or tuple(filter(None, [os.environ.get(AUTH_VARIABLE)]))
    pairs = [pair for item in given for pair in _pairs(item)]
    users = [user for user, _ in pairs]
    for user in users:
        if users.count(user) > 1:
            raise UsageError("--auth: a user is given twice; give each user once")
    return pairs


def _pairs(item: str) -> Iterable[tuple[str, str]]:
    """The pairs of one USER:PASSWORD or one file. Messages do not repeat it, because it may be a password."""
    path = Path(item)
    try:
        is_file = path.is_file()
    except OSError:  # such as a password that is too long for a name; the traceback would show it
        is_file = False
    if not is_file:
        return [_pair(item, "--auth")]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--auth: the file cannot be read as UTF-8 text ({type(error).__name__})") from error
    pairs = [
        _pair(line.strip(), f"--auth: line {number} of the file")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not pairs:
        raise UsageError("--auth: the file is empty; write one USER:PASSWORD a line")
    return pairs


def _pair(text: str, place: str) -> tuple[str, str]:
    user, separator, password = text.partition(":")
    if not (user and separator and password):
        raise UsageError(f"{place}: is neither USER:PASSWORD nor a file; give both, with a colon between")
    return user, password
