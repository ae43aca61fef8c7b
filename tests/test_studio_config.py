"""The flags of studio.py: who may use it, where training is offered, what is checked before anything starts."""

import subprocess
import sys
from pathlib import Path

import pytest

import studio
from cli.flags import UsageError
from web.config import is_loopback
from web.studio.config import AUTH_VARIABLE, StudioConfig, accounts, check_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_accounts_from_outside(monkeypatch):
    monkeypatch.delenv(AUTH_VARIABLE, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_addresses_of_this_machine_are_local(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "localhost.evil.example", "studio", "", "1"]
)
def test_other_addresses_are_not_local(host):
    assert not is_loopback(host)


def test_training_is_offered_on_a_local_address_or_where_the_operator_allows_it():
    assert StudioConfig().offers_training
    assert not StudioConfig(no_training=True).offers_training
    assert not StudioConfig(host="0.0.0.0").offers_training
    assert not StudioConfig(public_host=("photos.example",)).offers_training
    assert StudioConfig(host="0.0.0.0", allow_training=True).offers_training


def test_accounts_come_from_flags_files_and_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "accounts.txt"
    path.write_text("ann:a:b\n\n bob:secret \n")
    assert accounts(StudioConfig()) == []
    assert accounts(StudioConfig(auth=("eve:pw",))) == [("eve", "pw")]
    assert accounts(StudioConfig(auth=(str(path), "eve:pw"))) == [
        ("ann", "a:b"),
        ("bob", "secret"),
        ("eve", "pw"),
    ]
    monkeypatch.setenv(AUTH_VARIABLE, "eve:pw")
    assert accounts(StudioConfig()) == [("eve", "pw")]


@pytest.mark.parametrize("text", ["hunter2", "ann:", ":secret", "missing/file.txt"])
def test_a_wrong_account_is_refused_without_repeating_it(text):
    with pytest.raises(UsageError) as caught:
        accounts(StudioConfig(auth=(text,)))
    assert text not in str(caught.value)


def test_a_password_that_is_too_long_for_a_file_name_is_taken_and_never_shown(capsys):
    password = "hunter2" * 1000
    assert accounts(StudioConfig(auth=(f"ann:{password}",))) == [("ann", password)]
    with pytest.raises(SystemExit) as caught:
        studio.parse_args(["--auth", password])
    assert caught.value.code == 2 and "hunter2" not in capsys.readouterr().err


def test_a_file_of_accounts_names_the_line_that_is_wrong(tmp_path):
    path = tmp_path / "accounts.txt"
    for content, expected in {"a:b\nwrong": "line 2", "": "empty", "a:b\na:c": "twice"}.items():
        path.write_text(content)
        with pytest.raises(UsageError, match=expected):
            accounts(StudioConfig(auth=(str(path),)))


def test_flags_that_cannot_be_followed_are_refused(tmp_path):
    for name in ("a/photos", "b/photos"):
        (tmp_path / name).mkdir(parents=True)
    wrong = {
        "cannot be used together": StudioConfig(no_training=True, allow_training=True),
        "is not a folder": StudioConfig(content_dir=(tmp_path / "missing",)),
        "two folders are called photos": StudioConfig(
            content_dir=(tmp_path / "a/photos", tmp_path / "b/photos")
        ),
        "is not a file": StudioConfig(vgg=tmp_path),
        "--max-clip-frames": StudioConfig(max_clip_frames=0),
        "--public-host": StudioConfig(public_host=("https://photos.example",)),
    }
    for expected, config in wrong.items():
        with pytest.raises(UsageError, match=expected):
            check_config(config)


def test_the_door_reports_a_mistake_in_one_line_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        studio.parse_args(["--auth", "hunter2"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_waits_for_no_library():
    program = (
        "import sys, runpy; sys.argv = ['studio.py', '--help']\n"
        "import os; os._exit = sys.exit\n"
        "try: runpy.run_path('studio.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'gradio', 'numpy', 'PIL', 'fastapi', 'tensorflow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert "--content-dir" in done.stdout and done.stdout.rstrip().endswith("[]")


def test_a_missing_package_is_named_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(studio, "PACKAGES", ("no_such_package",))
    assert studio.run(StudioConfig()) == 1
    assert "no_such_package is not installed" in capsys.readouterr().err


def test_where_the_page_asks_for_a_password_the_service_is_closed():
    pytest.importorskip("fastapi", reason="the service needs fastapi")
    from web.studio.serving import key_of

    assert key_of(StudioConfig()) is None
    assert len(key_of(StudioConfig(auth=("ann:secret",)))) > 20
    assert key_of(StudioConfig(auth=("ann:secret",), api_key="k" * 20)) == "k" * 20
