"""cli/addresses.py: inputs and outputs are paths, or addresses of object stores."""

import argparse
from pathlib import Path

import pytest

import infer
from cli.addresses import Address, place_of


@pytest.mark.parametrize("text", ["s3://bucket/photos", "gs://b/a//b", "az://b/c", "abfs+x://h/p"])
def test_an_address_keeps_its_text(text):
    assert place_of(text) == Address(text) and str(place_of(text)) == text


@pytest.mark.parametrize("text", ["photos", "/a/b", "a:b.jpg", "C:/photos", "1://x"])
def test_everything_else_is_a_path(text):
    assert place_of(text) == Path(text)


@pytest.mark.parametrize("text", ["s3://", "s3:///", "s3://a\nb"])
def test_an_address_without_a_place_is_an_error(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no address such as"):
        place_of(text)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["s3://b/in", "--style", "udnie"], "object stores need --cluster; add it"),
        (["cat.jpg", "-o", "s3://b/out", "--style", "udnie"], "object stores need --cluster; add it"),
        (["s3://b/in", "--style", "udnie", "--cluster"], "--cluster needs -o FOLDER"),
        (["in", "-o", "a.png", "--style", "udnie", "--cluster"], "--cluster writes into a folder"),
        (
            ["in", "-o", "out", "--style", "udnie", "--cluster", "--temporal", "0.5"],
            "--temporal is for videos",
        ),
        (["in", "-o", "out", "--cluster", "--sheet"], "--sheet makes a sheet"),
        (["-o", "out", "--style", "udnie", "--cluster"], "give at least one photo"),
        (["in", "-o", "out", "--cluster"], "give --style, --blend or --sheet"),
        (["--style", "udnie", "-o", "out", "--cluster", "photos"], "the address of a cluster is auto, local"),
        (
            ["in", "-o", "o", "--style", "udnie", "--cluster", "h:99999"],
            "the address of a cluster is auto, local",
        ),
        (["in", "-o", "o", "--mode", "optimize", "--cluster"], "--cluster belongs to --mode fast"),
    ],
)
def test_flags_of_a_cluster_are_checked_before_anything_starts(arguments, line, capsys):
    with pytest.raises(SystemExit) as caught:
        infer.main(arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert line in message and message.count("\n") == 1


def test_the_flags_of_a_cluster_are_read():
    config = infer.parse_args(
        ["s3://b/in", "photos", "-o", "s3://b/out", "--cluster", "--style", "udnie", "--workers", "3"]
    )
    assert config.photos == (Address("s3://b/in"), Path("photos")) and config.output == Address("s3://b/out")
    assert config.cluster == "auto" and config.workers == 3
