"""install/rewriting.py: every import of ours gets its installed name, or the build fails and names the line."""

import pytest

from install.rewriting import ImportFault, Names, renamed

NAMES = Names(frozenset({"data", "cli", "infer", "system"}), frozenset({"tests", "benchmarks"}))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from data.images import x\n", "from fast_style_transfer.data.images import x\n"),
        ("from data import images\n", "from fast_style_transfer.data import images\n"),
        ("import infer\n", "from fast_style_transfer import infer\n"),
        ("import infer as door\n", "import fast_style_transfer.infer as door\n"),
        ("import data.images as images\n", "import fast_style_transfer.data.images as images\n"),
        ("def f():\n    from cli.a import (\n        b,\n    )\n", None),
        ("é = 'ü'; from data.a import b  # ö\n", "é = 'ü'; from fast_style_transfer.data.a import b  # ö\n"),
        ("from  data.a import b\r\n", "from  fast_style_transfer.data.a import b\r\n"),
        ("try: from data.a import b; from cli.c import d\nexcept ImportError: pass\n", None),
    ],
)
def test_an_import_of_ours_gets_the_name_of_the_package(source, expected):
    expected = expected or source.replace("from ", "from fast_style_transfer.")
    assert renamed(source, NAMES, "x.py") == expected


@pytest.mark.parametrize(
    "source",
    [
        "import os, json\n",
        "from . import images\n",
        "from .data import x\n",
        "import database\nfrom data_tools import x\n",
        '"""Use it so: \n\nfrom data.images import load_image\n"""\n',
        "# from data.images import x\n",
        "data.images.x = 'infer.py'\n",
        "x = 'tests show that data are images'\n",
    ],
)
def test_all_else_stays_as_it_is(source):
    assert renamed(source, NAMES, "x.py") == source


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (
            "\nimport data.images\n",
            "x.py:2: write `from data import images` in place of `import data.images`",
        ),
        ("import os, infer\n", "x.py:1: write `import infer` in a line of its own"),
        ("from \\\n  data import x\n", "x.py:1: write `from data import` on one line"),
        ("def f():\n    from tests.a import b\n", "x.py:2: tests is not installed"),
        ("import_module('data.images')\n", "x.py:1: names a module in a text"),
        ("PROGRAM = '''\nimport sys\nfrom data.images import x\n'''\n", "x.py:1: names a module in a text"),
        ("p = f'''\nfrom data.images import {x}\n'''\n", "names a module in a text"),
        ("run([python, '-m', 'cli.flags'])\n", "x.py:1: names a module in a text"),
    ],
)
def test_what_cannot_be_renamed_fails_the_build_by_file_and_line(source, part):
    with pytest.raises(ImportFault) as error:
        renamed(source, NAMES, "x.py")
    assert part in str(error.value)
