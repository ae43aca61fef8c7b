"""cli/outcomes.py: a fault names its input once, and an interrupted call says how to go on."""

from pathlib import Path

import pytest

from cli.outcomes import fault_line, interrupted_text

CAT = Path("cat.jpg")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("is too large", "cat.jpg: is too large"),
        (OSError("cat.jpg: no space"), "cat.jpg: no space"),
        ("art/cat.png: cannot be written", "art/cat.png: cannot be written"),
        (MemoryError(), "cat.jpg: not enough memory; close other programs"),
        ("two\nlines", "cat.jpg: two\\nlines"),
    ],
)
def test_a_fault_names_its_input_or_target_once(fault, line):
    assert fault_line(CAT, fault, Path("art/cat.png")) == line


@pytest.mark.parametrize(
    ("written", "skips", "text"),
    [
        (0, False, "no video was written"),
        (
            2,
            False,
            "2 of 5 videos were written; give the same command again with --skip-existing to make the others",
        ),
        (2, True, "2 of 5 videos were written; give the same command again to make the others"),
    ],
)
def test_an_interrupted_call_says_what_is_done_and_how_to_go_on(written, skips, text):
    assert interrupted_text(written, 5, "video", skips_existing=skips) == text
