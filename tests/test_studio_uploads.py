"""What files of visitors may be called."""

from pathlib import Path

import pytest

from web.studio.uploads import Upload, file_stem, shown_name


@pytest.mark.parametrize("letter", ["a", "ä", "波", "𝔞"])
def test_long_names_in_every_script_fit_into_a_file_system(tmp_path, letter):
    name = shown_name(f"{letter * 500}.{letter * 50}")
    stem = file_stem(Upload(Path("x"), f"{letter * 500}.png"))
    for text in (name, f"{stem}_{stem}.png"):
        (tmp_path / text).touch()
        assert text.startswith(letter * 10) and "\ufffd" not in text
    assert len(name.encode()) <= 70


def test_a_name_is_no_path_and_has_no_control_characters():
    assert shown_name("../../etc/pass\nwd.png") == "passwd.png"
    assert shown_name("C:\\photos\\cat.png") == "cat.png"
    assert shown_name("\ud800.png") == ".png" and shown_name("\n") == "file"
    assert file_stem(Upload(Path("x"), "../a b.c.png")) == "a_b_c"
    assert file_stem(Upload(Path("x"), "..png")) == "picture"
