"""train.py --cluster: one style by several workers, or many styles side by side, on Ray."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from cli.flags import UsageError, as_flags, flag, report
from cli.train_config import (
    BASE,
    NO_START,
    TrainConfig,
    changes,
    file_settings,
    settings_from_json,
    settled,
)
from system.console import printable
from system.program import prog
from system.signals import Interrupted

PROG = prog("train")
LOGS_DIR = "workers"  # in the log folder of a style
OF_ONE_STYLE = ("style", "name", "log_dir")  # what --styles-from does not take from --config
SHOWN_LINES = 3  # last ones of a process that failed


class Prepared(NamedTuple):
    """A checked training. `step` is that of its saved state, 0 without one; is_new: it does not resume."""

    config: TrainConfig
    step: int
    is_new: bool
    is_finished: bool


def train_on_cluster(options: argparse.Namespace) -> int:
    """Checks everything that can be checked here, joins the cluster and trains; returns the exit status."""
    return _train_gallery(options) if options.styles_from is not None else _train_one(options)


def prepared(
    options: argparse.Namespace, values: Mapping[str, Any], *, checks_shared: bool = True
) -> Prepared:
    """The training of one style with these settings, checked like a training on this machine.

    checks_shared: also what other styles of the call read alike. Raises what those checks raise.
    """
    from cli.training_checks import (
        check_inputs,
        check_places,
        check_targets,
        checked_style_size,
        exclusive_run,
        is_finished,
        saved_run,
    )
    from cli.training_network import with_start

    saved = saved_run(values, options.resume or (None if options.overwrite else "auto"))
    previous = settings_from_json(saved.info["config"], f"{saved.path}") if saved is not None else {}
    config = settled({**previous, **values})
    config = _with_whole_paths(config if saved is not None else with_start(config), is_new=saved is None)
    step = saved.step if saved is not None else 0
    list(changes(config, previous, step))  # raises for one that cannot be; the chief reports the others
    if is_finished(config, saved) and not options.overwrite:
        return Prepared(config, step, is_new=False, is_finished=True)
    if checks_shared:
        check_inputs(config, is_resumed=saved is not None)
    else:
        checked_style_size(config)
    check_places(config)
    with exclusive_run(config):
        check_targets(config, resumes=saved is not None, overwrite=options.overwrite)
    return Prepared(config, step, is_new=saved is None, is_finished=False)


def _with_whole_paths(config: TrainConfig, *, is_new: bool) -> TrainConfig:
    """The configuration for a process that runs in another folder, on another machine.

    Raises StyleError if a new training starts from a style that is not there.
    """
    from transformer.export.style_folder import StyleError, find_style

    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    whole = {name: value.absolute() for name, value in values.items() if isinstance(value, Path)}
    whole["preview"] = tuple(path.absolute() for path in config.preview)
    if config.start_from not in (BASE, NO_START, None):
        try:
            whole["start_from"] = str(find_style(config.start_from).absolute())
        except StyleError:  # a training that goes on does not need it
            if is_new:
                raise
    return replace(config, **whole)


def _task(training: Prepared, options: argparse.Namespace, share: Any, precision: str | None) -> Any:
    """What a worker needs to train. precision: of a training that has none chosen by the user yet."""
    from cluster.member import Task, saved_states

    config = training.config if precision is None else replace(training.config, precision=precision)
    replaces = options.overwrite and training.is_new
    return Task(
        flags=(*as_flags(config), *(("--overwrite",) if options.overwrite else ())),
        state_dir=config.state_dir,
        style_dir=config.style_dir,
        steps=config.steps,
        replaced=saved_states(config.state_dir) if replaces else frozenset(),
        directory=os.getcwd(),
        threads=share.threads,
    )


def _gpu_precision(share: Any, options: argparse.Namespace, training: Prepared) -> str | None:
    """The default of --precision for GPUs; None where it is chosen or this machine's default holds."""
    is_chosen = not training.is_new or "precision" in {**file_settings(options), **options.given}
    return "float32" if share.gpus and not is_chosen else None


def _train_one(options: argparse.Namespace) -> int:
    from cli.training_report import report_finished
    from cluster.resources import nodes_of_cluster, places, share_of
    from cluster.session import joined_cluster
    from cluster.training import train_together

    training = prepared(options, {**file_settings(options), **options.given})
    config = training.config
    if training.is_finished:
        report_finished(config, training.step)
        return 0
    if (config.batch_size or options.workers) % options.workers:
        raise UsageError(
            f"--batch-size must be a multiple of --workers {options.workers}, got {config.batch_size}"
        )
    with joined_cluster(options.cluster), ExitStack() as files:
        nodes = nodes_of_cluster()
        share = share_of(nodes, options.workers, cpus_each=options.cpus_each)
        if places(nodes, share) < options.workers:
            _report_waiting(f"{options.workers} workers need", share, places(nodes, share), "--workers")
        task = _task(training, options, share, _gpu_precision(share, options, training))
        show = _Workers(config.log_dir / LOGS_DIR, files)
        received = train_together(task, share, options.workers, config.log_dir, show, show.stopping)
    if received and not task.is_done:
        saved = f"step {task.step} is saved" if task.step else "no step is saved yet"
        raise _interrupted(received, f"{saved}; the same command goes on")
    return show.status


def _report_waiting(who: str, share: Any, count: int, remedy: str) -> None:
    gpus = f" and {share.gpus} GPU" if share.gpus else ""
    report(
        PROG,
        f"{who} {share.cpus} CPU{gpus} each, the cluster has room for {count}; waiting for more machines (or stop, and"
        f" lower {remedy} or --cpus-each)",
    )


def _report_stopping(name: str) -> None:
    report(PROG, f"{name}: the state is being saved; once more ends at once")


def _interrupted(name: str, done: str) -> Interrupted:
    error = Interrupted(name)
    error.done = done
    return error


@dataclass
class _Log:
    """The log file of a process, and its last lines."""

    path: Path
    stream: TextIO
    lines: list[str] = field(default_factory=list)

    def write(self, line: str) -> None:
        self._append(line)
        self.lines = [*self.lines, line][-SHOWN_LINES:]

    def begin(self, news: Any) -> None:
        """Notes that the process starts, again perhaps; its last lines are those of this start."""
        step = f", from step {news.step}" if news.step else ""
        self._append(f"-- {time.strftime('%Y-%m-%d %H:%M:%S')}: starts on {news.value}{step}")
        self.lines = []

    def _append(self, line: str) -> None:
        self.stream.write(f"{line}\n")
        self.stream.flush()


def _opened(path: Path, files: ExitStack) -> _Log:
    path.parent.mkdir(parents=True, exist_ok=True)
    return _Log(path, files.enter_context(path.open("a", encoding="utf-8", errors="surrogateescape")))


class _Workers:
    """Shows what the workers of one training say: the chief's lines, and the faults of all."""

    def __init__(self, log_dir: Path, files: ExitStack):
        self.status = 0
        self._log_dir, self._files = log_dir, files
        self._logs: dict[int, _Log] = {}
        self._is_stopping = False

    def __call__(self, news: Any) -> None:
        from cluster import desk
        from cluster.child import was_lost

        log = self._log(news.member)
        if news.kind == desk.BEGUN:
            log.begin(news)
            if news.member == 0 and news.starts > 1:
                report(PROG, f"a worker was lost; all workers start again, from step {news.step}")
        elif news.kind == desk.LINE:
            log.write(news.value)
            if news.member == 0 and not self._is_stopping:
                _show_line(news.value)
        elif news.kind == desk.GIVEN_UP:
            self.status = 1
            lost = f"the training was lost {desk.MOST_STARTS} times at step {news.step}"
            report(PROG, f"given up: {lost}; see the logs in {log.path.parent}")
        elif news.value and not was_lost(news.value):
            self._show_fault(news.member, news.value, log)

    def stopping(self, name: str) -> None:
        """Tells of a signal. What the chief says from now on is for the single process that it is not."""
        self._is_stopping = True
        _report_stopping(name)

    def _log(self, member: int) -> _Log:
        if member not in self._logs:
            self._logs[member] = _opened(self._log_dir / f"worker_{member}.log", self._files)
        return self._logs[member]

    def _show_fault(self, member: int, status: int, log: _Log) -> None:
        self.status = self.status or status
        if member:  # the chief's lines are shown already
            for line in log.lines:
                _show_line(f"worker {member}: {line}")
        report(PROG, f"worker {member} ended with status {status}; its log is {log.path}")


def _show_line(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _train_gallery(options: argparse.Namespace) -> int:
    from cluster.gallery import train_side_by_side
    from cluster.resources import nodes_of_cluster, places, share_of
    from cluster.session import joined_cluster

    styles = _checked_styles(options)
    waiting = [style for style in styles if style.training is not None and not style.training.is_finished]
    received = ""
    if waiting:
        with joined_cluster(options.cluster), ExitStack() as files:
            nodes = nodes_of_cluster()
            memory = max(_memory(style.training.config) for style in waiting)
            share = share_of(nodes, len(waiting), cpus_each=options.cpus_each, memory=memory)
            if not (room := places(nodes, share)):
                _report_waiting("each style needs", share, room, "the size of the training")
            report(PROG, f"{len(waiting)} styles, {min(room, len(waiting))} at a time")
            tasks = [
                _task(style.training, options, share, _gpu_precision(share, options, style.training))
                for style in waiting
            ]
            show = _Gallery(waiting, tasks, files)
            received, faults = train_side_by_side(tasks, share, show, _report_stopping)
            show.add(faults)
    _report_table(styles)
    if received and any(style.outcome.startswith(STOPPED) for style in styles):
        raise _interrupted(received, "the states are saved; the same command goes on")
    return int(any(style.is_failed for style in styles))


STOPPED = "stopped"


@dataclass
class _Style:
    """A painting, its training, and what became of it. training: None for a painting that cannot be used."""

    name: str
    training: Prepared | None
    outcome: str = STOPPED  # one line
    is_failed: bool = False
    minutes: float = 0.0
    log_path: Path | None = None
    begun: float | None = None  # the time


def _memory(config: TrainConfig) -> int:
    from cli.training_report import bytes_per_replica

    return bytes_per_replica(config, 1)


def _checked_styles(options: argparse.Namespace) -> list[_Style]:
    """All styles of the call. Reports paintings that cannot be used; raises for what is wrong with the call."""
    from cli.training_checks import check_shared_inputs

    values = {**file_settings(options), **options.given}
    logs_dir = options.given.get("log_dir", Path("runs"))
    shared = {name: value for name, value in values.items() if name not in OF_ONE_STYLE}
    all_values = [
        {**shared, "style": path, "name": path.stem, "log_dir": logs_dir / path.stem}
        for path in _paintings(options.styles_from)
    ]
    check_shared_inputs(settled(all_values[0]))
    return [_checked_style(options, style_values) for style_values in all_values]


def _checked_style(options: argparse.Namespace, values: Mapping[str, Any]) -> _Style:
    from data.images import ImageError
    from transformer.training.state import StateError

    settled(values)  # a fault in the flags, or a name that no style can have
    try:
        training = prepared(options, values, checks_shared=False)
    except (ImageError, StateError, OSError) as error:
        report(PROG, f"{values['name']}: {error}")
        return _Style(values["name"], None, f"not started: {error}", is_failed=True)
    style = _Style(values["name"], training)
    if training.is_finished:
        style.outcome = f"finished before, {training.step} steps"
    return style


def _paintings(source: Path) -> list[Path]:
    """The pictures of a folder, or those that the lines of a text file name. Raises UsageError and ImageError."""
    from data.listing import list_images

    paths = list_images([source]) if source.is_dir() else _listed_paths(source)
    by_name: dict[str, Path] = {}
    for path in paths:
        if other := by_name.get(path.stem):
            raise UsageError(
                f"{flag('styles_from')}: {other} and {path} would both be the style {path.stem}; rename one of them"
            )
        by_name[path.stem] = path
    return paths


def _listed_paths(source: Path) -> list[Path]:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--styles-from {source}: is neither a folder of pictures nor a text file with a path in each line"
        ) from error
    paths = [Path(line.strip()) for line in lines if line.strip()]
    if not paths:
        raise UsageError(f"--styles-from {source}: names no picture; write a path in each line")
    return paths


class _Gallery:
    """Shows when styles begin and end, and notes what became of them."""

    def __init__(self, styles: list[_Style], tasks: list[Any], files: ExitStack):
        self._styles, self._tasks = styles, tasks
        self._logs: dict[int, _Log] = {}
        self._files = files

    def __call__(self, news: Any) -> None:
        from cluster import desk

        style = self._styles[news.member]
        log = self._log(news.member)
        if news.kind == desk.BEGUN:
            self._begin(style, news, log)
        elif news.kind == desk.LINE:
            log.write(news.value)
        elif news.kind == desk.GIVEN_UP:
            self._fail(style, f"lost {desk.MOST_STARTS} times at step {news.step}, given up")
        else:
            self._end(style, self._tasks[news.member], news.value, log)

    def add(self, faults: Mapping[int, str]) -> None:
        """Notes what Ray itself could not run."""
        for index, fault in faults.items():
            if not self._styles[index].is_failed:
                self._fail(self._styles[index], fault)

    def _log(self, member: int) -> _Log:
        if member not in self._logs:
            path = self._tasks[member].state_dir.parent / LOGS_DIR / "worker_0.log"
            self._logs[member] = _opened(path, self._files)
            self._styles[member].log_path = path
        return self._logs[member]

    def _begin(self, style: _Style, news: Any, log: _Log) -> None:
        style.begun = style.begun or time.monotonic()
        log.begin(news)
        what = f"lost; starts again on {news.value}" if news.starts > 1 else f"starts on {news.value}"
        report(PROG, f"{style.name}: {what}" + (f", from step {news.step}" if news.step else ""))

    def _end(self, style: _Style, task: Any, status: int, log: _Log) -> None:
        from cluster.child import was_lost

        style.minutes = (time.monotonic() - (style.begun or time.monotonic())) / 60
        if status == 0:
            style.outcome = f"{task.step} steps"
            report(PROG, f"{style.name}: is ready, {style.outcome}, {style.minutes:.1f} minutes")
        elif was_lost(status):
            style.outcome = f"{STOPPED}, step {task.step} is saved"  # unless it starts again
        else:
            fault = log.lines[-1].removeprefix(f"{PROG}: ") if log.lines else f"status {status}"
            self._fail(style, fault)

    def _fail(self, style: _Style, fault: str) -> None:
        style.outcome, style.is_failed = f"failed: {fault}", True
        report(PROG, f"{style.name}: {style.outcome}")


def _report_table(styles: list[_Style]) -> None:
    """One line for each style: its name, steps or fault, minutes and log."""
    width = max(len(style.name) for style in styles)
    for style in styles:
        minutes = f", {style.minutes:.1f} minutes" if style.begun else ""
        log = f"; log: {style.log_path}" if style.log_path else ""
        _show_line(f"  {style.name:{width}}  {style.outcome}{minutes}{log}")
