"""train.py --cluster without a cluster: its flags, what it checks before it joins one, and what it does with news."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import wait_until

import train
from cli import train_cluster
from cli.flags import UsageError, as_flags
from cli.train_config import settled
from cluster.child import KILL, SAVE, child_environment, run_child, was_lost
from cluster.desk import BEGUN, ENDED, GIVEN_UP, LINE, MOST_STARTS, Desk, News
from cluster.member import Task, saved_states
from cluster.resources import Share, places, share_of
from transformer.training.cluster_config import LOST_STATUS, RESTARTS_VARIABLE

GALLERY = ("--cluster", "local", "--styles-from")


def refusal(capsys, *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        train.parse_args(list(flags))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--workers", "2"], "--workers needs --cluster"),
        (["--styles-from", "x"], "--styles-from needs --cluster: add it, or --cluster HOST:PORT"),
        (["--cpus-each", "2"], "--cpus-each needs --cluster"),
        (["--cluster"], "--cluster needs --workers N, for one style, or --styles-from FOLDER, for many"),
        (
            ["--cluster", "--workers", "2", "--styles-from", "x"],
            "--cluster needs --workers N, for one style, or",
        ),
        (["--cluster", "--workers", "0"], "must be at least 1, got 0"),
        (
            ["--cluster", "here", "--workers", "2"],
            "the address of a cluster is auto, local, HOST:PORT or ray://",
        ),
        ([*GALLERY, "x", "--style", "a.png"], "--style is for one style; --styles-from names each style"),
        ([*GALLERY, "x", "--name", "a"], "--name is for one style"),
        (["--cluster", "--workers", "2", "--preview-grid"], "--preview-grid is made on one machine"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_in_a_line(capsys, monkeypatch, flags, line):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert line in refusal(capsys, *flags)


def test_a_process_of_another_cluster_is_refused(capsys, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
    )
    assert "--cluster sets TF_CONFIG itself" in refusal(capsys, "--cluster", "--workers", "2")


def test_a_bare_cluster_flag_means_auto():
    assert train.parse_args(["--cluster", "--workers", "2"]).cluster == "auto"


@pytest.mark.parametrize(
    "more", [(), ("--xla", "--style-source=-x", "--style-license", "a b", "--vgg", "v.npz")]
)
def test_flags_of_a_configuration_give_it_back(tiny_flags, tmp_path, more):
    config = settled(train.parse_args(tiny_flags(tmp_path, *more)).given)
    assert settled(train.parse_args(as_flags(config)).given) == config


@pytest.fixture
def checked(tiny_flags, tmp_path, monkeypatch):
    """A function: flags -> the training that train.py --cluster has checked."""
    monkeypatch.chdir(tmp_path)

    def checked(*flags: str) -> train_cluster.Prepared:
        options = train.parse_args([*tiny_flags(Path()), "--cluster", "--workers", "2", *flags])
        return train_cluster.prepared(options, options.given)

    return checked


@pytest.mark.tensorflow
def test_a_worker_gets_whole_paths(checked, tmp_path, style_dirs):
    start = os.path.relpath(style_dirs["waves"])
    config = checked("--start-from", start).config
    assert config.log_dir == tmp_path / "log" and config.output_dir == tmp_path / "styles"
    assert Path(config.start_from).is_absolute() and Path(config.start_from).samefile(start)
    assert all(path.is_absolute() for path in (config.style, config.content_dir, config.vgg, *config.preview))


def test_a_finished_training_is_not_started_again(tiny_run, tiny_flags):
    options = train.parse_args([*tiny_flags(tiny_run), "--cluster", "--workers", "2"])
    assert train_cluster.prepared(options, options.given).is_finished


def test_a_batch_that_the_workers_cannot_divide_is_refused(tiny_flags, tmp_path):
    options = train.parse_args(tiny_flags(tmp_path, "--cluster", "--workers", "3"))
    with pytest.raises(UsageError, match="--batch-size must be a multiple of --workers 3, got 2"):
        train_cluster.train_on_cluster(options)


def styles_of(tiny_flags, folder: Path, source: Path) -> list:
    flags = tiny_flags(folder)
    options = train.parse_args([*flags[2:6], *flags[8:], *GALLERY, str(source)])
    assert not {"style", "name"} & options.given.keys()
    return train_cluster._checked_styles(options)


def test_paintings_with_one_name_are_refused(tiny_flags, photo, tmp_path):
    for name in ("a.png", "b/a.jpg"):
        photo(tmp_path / "paintings" / name)
    with pytest.raises(UsageError, match="would both be the style a; rename one"):
        styles_of(tiny_flags, tmp_path, tmp_path / "paintings")


def test_the_lines_of_a_file_name_paintings_and_a_bad_one_fails_alone(tiny_flags, photo, tmp_path, capsys):
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text(
        f"{tmp_path / 'a.png'}\n\n{tmp_path / 'b.png'}\n{tmp_path / 'c.png'}\n"
    )
    styles = styles_of(tiny_flags, tmp_path, tmp_path / "list.txt")
    assert [(style.name, style.is_failed) for style in styles] == [("a", False), ("b", True), ("c", True)]
    assert styles[0].training.config.log_dir == tmp_path / "log" / "a"
    assert f"train.py: b: {tmp_path / 'b.png'}: " in capsys.readouterr().err
    assert "no such file" in styles[2].outcome.lower()


@pytest.mark.parametrize("content", [b"\n\n", b"\x89PNG\xff"], ids=["empty", "a picture"])
def test_a_list_without_paths_is_refused(tiny_flags, tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UsageError, match="a path in each line"):
        styles_of(tiny_flags, tmp_path, tmp_path / "list.txt")


def test_a_shared_fault_stops_a_gallery_before_it_starts(tiny_flags, photo, tmp_path):
    from data.images import ImageError

    photo(tmp_path / "paintings" / "a.png")
    flags = tiny_flags(tmp_path)
    options = train.parse_args(
        [*flags[4:6], *flags[8:], *GALLERY, str(tmp_path / "paintings"), "--content-dir", "no"]
    )
    with pytest.raises(ImageError, match="^no: "):
        train_cluster._checked_styles(options)


@pytest.mark.parametrize(
    ("cores", "parts", "cpus"),
    [([2], 2, 1), ([8], 2, 4), ([8, 8], 3, 4), ([8, 2], 2, 4), ([2], 5, 1), ([16, 16], 2, 16), ([], 2, 1)],
)
def test_cores_are_shared_so_that_all_parts_fit_their_machines(cores, parts, cpus):
    share = share_of([{"CPU": float(core)} for core in cores], parts, cpus_each=None)
    assert share == Share(cpus, 0) and share.threads == cpus


def test_with_gpus_each_part_takes_one_and_threads_are_left_alone():
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}]
    share = share_of(nodes, 3, cpus_each=None, memory=5)
    assert share == Share(1, 1) and share.threads is None
    assert places(nodes, share) == 2


def test_no_more_memory_is_asked_for_than_a_machine_has():
    nodes = [{"CPU": 4.0, "memory": 100.0}]
    assert share_of(nodes, 4, cpus_each=1, memory=30) == Share(1, 0, 30)
    assert places(nodes, Share(1, 0, 30)) == 3
    assert share_of(nodes, 4, cpus_each=1, memory=300).memory == 100


def test_a_training_below_ray_has_its_own_keras_threads_and_gpus():
    inherited = {"TF_USE_LEGACY_KERAS": "1", "TF_CONFIG": "{}", "CUDA_VISIBLE_DEVICES": "0,1"}
    on_cpu = child_environment(inherited, threads=3, gpus=[])
    assert "TF_USE_LEGACY_KERAS" not in on_cpu and on_cpu["TF_CONFIG"] == "{}"
    assert on_cpu["TF_NUM_INTRAOP_THREADS"] == "3" and on_cpu[RESTARTS_VARIABLE]
    on_gpu = child_environment(inherited, threads=None, gpus=["1"])
    assert on_gpu["CUDA_VISIBLE_DEVICES"] == "1" and "TF_NUM_INTRAOP_THREADS" not in on_gpu


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_child_says_its_lines_and_its_status(tmp_path):
    said = []
    program = "import os, sys; print('a'); print('b', file=sys.stderr); print(os.getcwd()); sys.exit(3)"
    assert run_child(python(program), os.environ, str(tmp_path), lambda lines: said.extend(lines) or "") == 3
    assert sorted(said) == sorted(["a", "b", str(tmp_path)])


WAITING = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("waits", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(("order", "status"), [(SAVE, 143), (KILL, -signal.SIGKILL)])
def test_a_child_obeys_orders(order, status):
    said = []

    def exchange(lines: list[str]) -> str:
        said.extend(lines)
        return order if said else ""

    assert run_child(python(WAITING), os.environ, None, exchange) == status


def test_a_child_ends_with_an_exchange_that_fails():
    children = []

    def exchange(lines: list[str]) -> str:
        children.extend(int(line) for line in lines)
        if children:
            raise ConnectionError
        return ""

    program = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    with pytest.raises(ConnectionError):
        run_child(python(program), os.environ, None, exchange)
    assert not Path(f"/proc/{children[0]}").exists()


def test_a_network_of_another_size_cannot_go_on(tiny_run, tiny_flags):
    flags = tiny_flags(tiny_run, "--steps", "7", "--width", "0.25", "--resume", "--cluster", "--workers", "2")
    options = train.parse_args(flags)
    with pytest.raises(UsageError, match="--width is 0.25, but the saved training has 0.125"):
        train_cluster.prepared(options, options.given)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such signal")
def test_a_child_is_killed_with_its_worker(tmp_path):
    worker = f"""
import os, sys
sys.path.insert(0, {str(Path(train.__file__).parent)!r})
from cluster.child import run_child
program = "import os, time; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
run_child([sys.executable, "-c", program], os.environ, None, lambda lines: "")
"""
    process = subprocess.Popen(python(worker))
    wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    child = Path("/proc") / (tmp_path / "pid").read_text()
    wait_until(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text())


@pytest.mark.parametrize(
    ("status", "lost"), [(-9, True), (LOST_STATUS, True), (143, True), (0, False), (1, False), (2, False)]
)
def test_lost_processes_are_told_from_faulty_ones(status, lost):
    assert was_lost(status) is lost


def test_restarts_without_progress_are_given_up():
    desk = Desk(is_group=True)
    assert [desk.begin(0, 10, "host") for _ in range(MOST_STARTS)] == [""] * MOST_STARTS
    assert desk.begin(0, 20, "host") == ""  # progress
    assert desk.begin(0, 10, "host") == KILL
    assert [news.kind for news in desk.take_news()] == [BEGUN] * (MOST_STARTS + 1) + [GIVEN_UP]
    assert desk.begin(1, 10, "host") == KILL  # the others of the group cannot go on
    assert desk.take_news() == []


@pytest.mark.parametrize(("is_group", "order"), [(True, KILL), (False, "")])
def test_a_fault_ends_a_group_and_no_other_style(is_group, order):
    desk = Desk(is_group=is_group)
    desk.end(0, LOST_STATUS)
    assert desk.exchange(1, []) == ""
    desk.end(0, 1)
    assert desk.exchange(1, ["a"]) == order
    assert [(news.kind, news.value) for news in desk.take_news()] == [
        (ENDED, LOST_STATUS),
        (ENDED, 1),
        (LINE, "a"),
    ]
    assert desk.take_news() == []


def test_a_member_that_works_breaks_the_silence(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    desk = Desk(is_group=True)
    now[0] = 120.0
    assert desk.silence() == 20
    desk.exchange(0, [])
    assert desk.silence() == 0


def test_nothing_starts_after_the_order_to_stop():
    desk = Desk(is_group=False)
    desk.command(SAVE)
    assert desk.begin(0, 0, "host") == SAVE
    assert desk.take_news() == []


@pytest.fixture
def task(tiny_run) -> Task:
    """That of the finished run of 6 steps."""
    return Task(("--a",), tiny_run / "log" / "state", tiny_run / "styles" / "tiny", 6, frozenset(), "/", None)


def test_a_task_goes_on_from_the_newest_state(task):
    assert task.step == 6 and task.command()[-2:] == ["--a", "--resume=auto"]


def test_a_task_is_done_when_the_style_of_its_last_step_is_written(task, tmp_path):
    assert task.is_done
    assert not replace(task, steps=7).is_done
    assert not replace(task, style_dir=tmp_path).is_done


def test_a_task_that_replaces_a_run_does_not_go_on_with_it_but_with_its_own_states(task):
    fresh = replace(task, replaced=saved_states(task.state_dir))
    assert fresh.step == 0 and not fresh.is_done and fresh.command()[-1] == "--a"
    begun = replace(task, replaced=frozenset({("step_00000006.npz", 1)}))
    assert begun.step == 6 and begun.command()[-1] == "--resume=auto"


def shown_by_workers(capsys, tmp_path: Path, *news: News) -> tuple[int, list[str]]:
    with ExitStack() as files:
        show = train_cluster._Workers(tmp_path, files)
        for one in news:
            show(one)
    return show.status, capsys.readouterr().err.splitlines()


def test_the_chief_is_heard_and_every_fault(capsys, tmp_path):
    news = [News(index, BEGUN, "host") for index in range(2)]
    news += [
        News(0, LINE, "chief"),
        News(1, LINE, "quiet"),
        News(1, LINE, "train.py: fault"),
        News(1, ENDED, 1),
    ]
    status, lines = shown_by_workers(capsys, tmp_path, *news, News(0, ENDED, -9))
    log_path = tmp_path / "worker_1.log"
    assert status == 1
    assert lines[0] == "chief" and lines[-2] == "worker 1: train.py: fault"
    assert lines[-1] == f"train.py: worker 1 ended with status 1; its log is {log_path}"
    assert log_path.read_text().splitlines()[1:] == ["quiet", "train.py: fault"]


def test_a_restart_and_its_end_are_said_once(capsys, tmp_path):
    news = [News(index, BEGUN, "host", 10, starts=2) for index in range(2)]
    news.append(News(1, GIVEN_UP, None, 10))
    status, lines = shown_by_workers(capsys, tmp_path, *news)
    assert status == 1
    assert lines == [
        "train.py: a worker was lost; all workers start again, from step 10",
        f"train.py: given up: the training was lost 4 times at step 10; see the logs in {tmp_path}",
    ]


LOST_UNDER_RAY = """
import os, sys
from cli import tf_config
import tensorflow as tf

def lost():
    raise tf.errors.UnavailableError(None, None, "the peer is gone")

sys.exit(tf_config.status_of(lost))
"""


@pytest.mark.tensorflow
@pytest.mark.parametrize(("starter", "status"), [("ray", LOST_STATUS), ("", 1)])
def test_a_worker_that_loses_another_one_ends_with_its_status_where_all_are_restarted(starter, status):
    place = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    environment = {**os.environ, RESTARTS_VARIABLE: starter, "TF_CONFIG": json.dumps(place)}
    ended = subprocess.run(
        python(LOST_UNDER_RAY),
        env=environment,
        cwd=Path(train.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == status
    line = "train.py: another worker was lost (UnavailableError: the peer is gone)"
    assert (line in ended.stderr.splitlines()) == bool(starter)


def test_a_restarted_worker_waits_for_the_lock_of_its_lost_one(tiny_flags, tmp_path, monkeypatch):
    from cli import training_checks
    from system.locks import locked

    config = settled(train.parse_args(tiny_flags(tmp_path)).given)
    monkeypatch.setenv(RESTARTS_VARIABLE, "ray")
    with ExitStack() as lost_one:
        lost_one.enter_context(locked(config.log_dir.resolve()))
        monkeypatch.setattr(time, "sleep", lambda seconds: lost_one.close())  # frees the lock
        with training_checks.exclusive_run(config):
            pass
    monkeypatch.delenv(RESTARTS_VARIABLE)
    with locked(config.log_dir.resolve()), pytest.raises(OSError, match="another training is writing it"):
        training_checks.exclusive_run(config).__enter__()
