"""Runs a fuzz target: a loop of damaged inputs with a fixed number of cases and a fixed random seed.

    python -m fuzz.picture --cases 2000

Every case runs in a child process, so a crash, an endless loop and a bomb are findings and do not end the loop. An
input must be read, or refused by one of the target's exceptions with one line of text. All else is a finding; its
input is written to out/fuzz/. Copy an input that was a finding to fuzz/seeds/TARGET/ once the fault is mended: kept
seeds run first in every later run, unchanged, and are then damaged further like all others.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz.mutation import mutated

KEPT_SEEDS_DIR = Path(__file__).parent / "seeds"
FINDINGS_DIR = Path("out/fuzz")
LONGEST_LINE = 600  # characters of a refusal
POLL_SECONDS = 0.1
START_SECONDS = 120  # for the imports of a target and its first inputs


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    seeds: returns valid inputs by name. run: reads one input; its second argument is an empty folder that it may use.
    refusals: returns the exceptions that refuse an input. seconds, memory: what one case may take, the memory in
    bytes above what the undamaged inputs take.
    """

    name: str
    seeds: Callable[[], Mapping[str, bytes]]
    run: Callable[[bytes, Path], object]
    refusals: Callable[[], tuple[type[Exception], ...]]
    seconds: float = 20.0
    memory: float = 1.5e9


@dataclass(frozen=True)
class Finding:
    """An input that was neither read nor refused as it should be: the number of its case, and what happened.

    case: None for an undamaged input.
    """

    case: int | None
    what: str


def main(target: Target, arguments: list[str] | None = None) -> int:
    """Runs the cases that the flags ask for, prints a summary and returns the exit status: 1 after a finding."""
    parser = argparse.ArgumentParser(description=f"Fuzz target {target.name}.")
    parser.add_argument("--cases", type=int, default=500, help="number of damaged inputs (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random changes (default: 0)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    outcomes, findings = run_cases(target, options.cases, options.seed)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    seconds = time.perf_counter() - start
    print(f"fuzz {target.name}: {sum(outcomes.values())} cases in {seconds:.0f} s: {counts or 'none'}")
    for finding in findings:
        if finding.case is None:
            print(f"  {finding.what}")
        else:
            print(
                f"  case {finding.case}: {finding.what}; input: {_keep(target, options.seed, finding.case)}"
            )
    return 1 if findings else 0


def run_cases(target: Target, cases: int, seed: int) -> tuple[Counter, list[Finding]]:
    """Runs kept seeds and `cases` damaged inputs; returns the numbers of outcomes and the findings.

    Ends with one finding if an undamaged input cannot be read, because damaged ones then tell nothing.
    """
    outcomes: Counter = Counter()
    findings: list[Finding] = []
    end = len(_kept_seeds(target)) + cases
    following = 0
    while following < end:  # a new child after every finding, which ends the child
        for case, outcome, what in _outcomes_of_child(target, seed, following, end):
            if outcome == "unfit":
                return outcomes, [*findings, Finding(None, what)]
            outcomes[outcome] += 1
            following = case + 1
            if outcome == "found":
                findings.append(Finding(case, what))
    return outcomes, findings


def case_content(target: Target, seed: int, case: int) -> bytes:
    """Returns the input of a case: the kept seeds come first, unchanged."""
    kept = _kept_seeds(target)
    if case < len(kept):
        return kept[case]
    sources = [*kept, *target.seeds().values()]
    generator = np.random.default_rng([seed, case - len(kept)])
    return mutated(sources[generator.integers(len(sources))], sources, generator)


def _kept_seeds(target: Target) -> list[bytes]:
    folder = KEPT_SEEDS_DIR / target.name
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]


def _keep(target: Target, seed: int, case: int) -> Path:
    path = FINDINGS_DIR / target.name / f"seed{seed}_case{case}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case_content(target, seed, case))
    return path


def _outcomes_of_child(target: Target, seed: int, first: int, end: int) -> Iterator[tuple[int, str, str]]:
    """Yields (case, outcome, text) for the cases from `first` on, until the end or a finding that ends the child.

    The outcome "unfit" tells that the child could not read the undamaged inputs.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(target, seed, first, end, writing)
    os.close(writing)
    watch = _Watch(child, target)
    waiting = first  # the case without an outcome
    is_ready = False
    try:
        for case, outcome, what in _messages(reading, watch):
            is_ready |= outcome == "ready"
            if outcome in ("read", "refused", "found", "unfit"):
                yield case, outcome, what
                waiting = case + 1
            if outcome in ("found", "unfit"):
                return  # what failed may have left the child in any state
        if not is_ready:
            yield first, "unfit", f"an undamaged input: {watch.what or _death(watch)}"
        elif waiting < end:
            yield waiting, "found", watch.what or _death(watch)
    finally:
        os.close(reading)
        watch.end()


def _messages(reading: int, watch: "_Watch") -> Iterator[tuple[int, str, str]]:
    """Yields what the child writes, until it ends or takes too much time or memory."""
    buffered = b""
    while True:
        if select.select([reading], [], [], POLL_SECONDS)[0]:
            received = os.read(reading, 65536)
            if not received:
                return
            buffered += received
            *lines, buffered = buffered.split(b"\n")
            for line in lines:
                case, outcome, what = json.loads(line)
                watch.progress(outcome)
                yield case, outcome, what
        if watch.is_over():
            return


class _Watch:
    """The time and memory of a child and its descendants; `what` says which limit it has passed."""

    def __init__(self, child: int, target: Target):
        self.what = ""
        self._child, self._target, self._status = child, target, None
        self._peak, self._memory_limit = 0, float("inf")
        self._deadline = time.monotonic() + START_SECONDS

    def progress(self, outcome: str) -> None:
        self._deadline = time.monotonic() + self._target.seconds
        if outcome == "ready":
            self._memory_limit = self._peak + self._target.memory

    def is_over(self) -> bool:
        self._peak = max(self._peak, sum(map(_peak_memory, _family(self._child))))
        if time.monotonic() > self._deadline:
            self.what = f"no end after {self._target.seconds:g} s"
        elif self._peak > self._memory_limit:
            self.what = f"more than {self._target.memory / 1e9:g} GB of memory"
        return bool(self.what)

    def end(self, *, kill: bool = True) -> int:
        """Waits for the child, which is killed first unless it ends by itself; returns its wait status."""
        if self._status is None:
            for process in _family(self._child) if kill else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            _, self._status = os.waitpid(self._child, 0)
        return self._status


def _family(process: int) -> list[int]:
    """Returns a process and its descendants."""
    family = [process]
    for member in family:  # grows meanwhile
        for path in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has ended
                family += map(int, path.read_text().split())
    return family


def _peak_memory(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    return 0


def _death(watch: _Watch) -> str:
    status = watch.end(kill=False)
    if os.WIFSIGNALED(status):
        return f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process ended with status {os.WEXITSTATUS(status)}"


def _run_child(target: Target, seed: int, first: int, end: int, writing: int) -> None:
    """The child: runs the undamaged inputs, then the cases, and writes a line of JSON before and after each."""

    def tell(case: int, outcome: str, what: str = "") -> None:
        os.write(writing, json.dumps([case, outcome, what]).encode() + b"\n")

    status = 1
    try:
        for name, content in target.seeds().items():
            outcome, what = _outcome(target, content)
            if outcome != "read":
                tell(first, "unfit", f"the undamaged input {name} is {outcome}: {what}")
                os._exit(0)
        tell(first, "ready")
        for case in range(first, end):
            tell(case, "starts")
            tell(case, *_outcome(target, case_content(target, seed, case)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _outcome(target: Target, content: bytes) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            target.run(content, Path(folder))
        except target.refusals() as error:
            text = str(error)
            if len(text) > LONGEST_LINE or not text.isprintable():
                return "found", f"a refusal is not one line of plain text: {text[:300]!r}"
            return "refused", text
        except Exception:
            return "found", " | ".join(traceback.format_exc().splitlines()[-4:])[:1000]
    return "read", ""


if __name__ == "__main__":
    sys.exit(
        "run a target: python -m fuzz.picture, fuzz.clip, fuzz.onnx_style, fuzz.meta_graph or fuzz.style_json"
    )
