"""Stylizes photos with a trained network: `python infer.py PHOTO --style NAME -o OUT`.

Or by the slow method of Gatys et al.: `python infer.py PHOTO --mode optimize --style-images PAINTING -o OUT`.
"""

from cli.early_signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # Ctrl-C while the modules below are imported

import os
import sys
from dataclasses import replace

from cli.addresses import Address, place_of
from cli.doors import run_door
from cli.flags import Parser, UsageError, add_flags, check_ranges, flag, given_flags, help_formatter
from cli.infer_config import GROUPS, FastConfig, SharedConfig, SlowConfig
from system.program import command, examples, prog

PROG = prog("infer")
CONFIG_CLASSES = {"fast": FastConfig, "optimize": SlowConfig}
CLUSTER_FLAGS = (
    "workers",
    "cpus_per_worker",
    "gpus_per_worker",
    "report",
)  # that mean nothing without --cluster
RETIRED = {"--recipe": "--preset", "--list-recipes": "--list-presets"}
EXAMPLES = examples(
    "infer",
    """\
examples:
  $ cat.jpg --style great_wave                   writes cat_great_wave.jpg
  $ cat.jpg --style great_wave -o art.png        writes art.png
  $ cat.jpg --sheet                              the photo in every style, on one sheet
  $ photos/ --style starry_night -o art/         a folder and its subfolders
  $ cat.jpg --style great_wave --stroke-scale 2  brush strokes twice as large
  $ clip.mp4 --style great_wave                  a video, with its sound
  $ clips/ --style great_wave -o art/            a folder of videos
  $ s3://bucket/in -o s3://bucket/out --style udnie --cluster
                                                 millions of photos, on a Ray cluster
  $ --webcam --style udnie                       what a camera sees, live in a window
  $ cat.jpg --blend great_wave:2 starry_night:1  two styles mixed
  $ cat.jpg --mode optimize --style-images painting.jpg --width 384
                                                 the slow method, with any painting
""",
)


def parse_args(arguments: list[str] | None = None) -> SharedConfig:
    """The configuration of one of the two modes. A mistake in the flags ends the process with status 2."""
    parser = _build_parser()
    options = parser.parse_intermixed_args(_spelt_as_paths(sys.argv[1:] if arguments is None else arguments))
    mode = getattr(options, "mode", SharedConfig.mode)
    given = {
        name: value for kind in CONFIG_CLASSES.values() for name, value in given_flags(options, kind).items()
    }
    config_class = CONFIG_CLASSES[mode]
    try:
        for name in given:
            if not hasattr(config_class, name):
                other = next(other for other in CONFIG_CLASSES if other != mode)
                raise UsageError(f"{flag(name)} belongs to --mode {other}, not to --mode {mode}")
        config = replace(config_class(), photos=tuple(options.photos), **given)
        check_ranges(config)
        if not (config.list_styles or config.list_presets):
            _check_together(config)
    except UsageError as error:
        parser.error(str(error))
    return config


def _spelt_as_paths(arguments: list[str]) -> list[str]:
    """Spells photos behind "--" as ./-photo.jpg, because argparse loses the "--" where flags and photos are mixed."""
    if "--" not in arguments:
        return arguments
    end = arguments.index("--")
    return arguments[:end] + [f"./{name}" if name.startswith("-") else name for name in arguments[end + 1 :]]


def _build_parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="Stylize photos, videos and folders of them.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        usage=f"{command('infer')} PHOTO|FOLDER|VIDEO [...] --style STYLE [-o OUTPUT] [flags]",
    )
    parser.add_argument(
        "photos",
        nargs="*",
        type=place_of,
        metavar="PHOTO|FOLDER|VIDEO",
        help="photos, videos, and folders of photos or of videos",
    )
    add_flags(parser, CONFIG_CLASSES.values(), GROUPS)
    parser.add_retired(RETIRED)
    return parser


def _check_together(config: SharedConfig) -> None:
    if getattr(config, "cluster", None) is not None:
        from cli.stylize_cluster import check_config

        return check_config(config)
    for name in CLUSTER_FLAGS if isinstance(config, FastConfig) else ():
        if getattr(config, name) != getattr(FastConfig, name):
            raise UsageError(f"{flag(name)} needs --cluster: add it, or --cluster HOST:PORT")
    for place in (*config.photos, config.output):
        if isinstance(place, Address):
            raise UsageError(
                f"{place}: object stores need --cluster; add it, or copy the files to this machine"
            )
    if isinstance(config, SlowConfig):
        from cli.optimize import check_config
    elif config.webcam is not None:
        from cli.webcam import check_config
    elif config.sheet:
        from cli.style_sheet import check_config
    else:
        from cli.styles import check_config
    check_config(config)


def run(config: SharedConfig) -> int:
    """Does what the flags ask for; returns the exit status."""
    if config.list_presets:
        from cli.listings import print_presets

        return print_presets()
    if config.list_styles:
        from cli.listings import print_styles

        return print_styles()
    if isinstance(config, SlowConfig):
        from cli.optimize import optimize_photo

        return optimize_photo(config)
    if config.webcam is not None:
        from cli.webcam import show_webcam

        return show_webcam(config)
    if config.cluster is not None:
        from cli.stylize_cluster import stylize_on_cluster

        return stylize_on_cluster(config)
    from cli.stylize_video import clip_inputs_of

    clip_inputs = clip_inputs_of(config)
    if config.sheet:
        if clip_inputs:
            raise UsageError("--sheet shows photos; give photos only")
        from cli.style_sheet import write_sheets

        return write_sheets(config)
    if config.benchmark:
        if clip_inputs:
            raise UsageError("--benchmark measures photos; give photos only")
        from cli.inference_benchmark import print_times

        return print_times(config)
    if clip_inputs:
        from cli.stylize_video import stylize_all

        return stylize_all(config, clip_inputs)
    from cli.stylize import stylize_photos

    return stylize_photos(config)


def expected_errors(config: SharedConfig) -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr. All others keep their traceback."""
    if isinstance(config, SlowConfig):
        from cli.optimize import expected_errors
    elif getattr(config, "cluster", None) is not None:
        from cli.stylize_cluster import expected_errors
    else:
        from cli.styles import expected_errors
    return (OSError, MemoryError, *expected_errors())


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    return run_door(PROG, lambda: parse_args(arguments), run, expected_errors)


def leave(status: int) -> None:
    """Ends the process without freeing what it holds, which would take a twentieth of a second.

    Where TensorFlow runs, the process ends as usual: TensorFlow removes its temporary files at exit.
    """
    if "tensorflow" in sys.modules:
        sys.exit(status)
    os._exit(status)


if __name__ == "__main__":
    leave(main())
