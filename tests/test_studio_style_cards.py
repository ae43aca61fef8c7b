"""The cards of styles: a picture for each, made in the background, whatever becomes of the others."""

import shutil
import threading

import pytest
from PIL import Image

from transformer.export.style_folder import StyleError
from web.pictures import PictureMaker
from web.shelf import StyleShelf
from web.studio.config import StudioConfig
from web.studio.style_cards import CARD_SIDE, StyleCards, choices, title_of
from web.turns import Deadline, GaveUp

LONG = 120.0  # seconds; a loaded machine is slow


@pytest.fixture
def maker(style_dirs, tmp_path) -> PictureMaker:
    """The styles are copies, which a test may change."""
    shutil.copytree(style_dirs["waves"].parent, tmp_path / "styles")
    return PictureMaker(StudioConfig(), StyleShelf(tmp_path / "styles"))


@pytest.fixture
def cards(maker, tmp_path) -> StyleCards:
    return StyleCards(maker, tmp_path / "cards")


def names_of(pictures) -> list[str]:
    return [picture.name for picture in pictures]


def test_titles_of_styles_are_readable():

    assert title_of("great_wave") == "Great wave"
    assert title_of("composition_no_vii") == "Composition no VII"


def test_every_style_has_a_card_with_its_source_and_a_picture(cards):
    assert choices(cards.cards()) == [
        ("Stars (museum of stars)", "stars"),
        ("Waves (museum of waves)", "waves"),
    ]
    pictures = cards.pictures(LONG)
    assert [picture.title for picture in pictures] == ["Stars", "Waves"] and not cards.is_making
    with Image.open(pictures[0].path) as image:
        assert image.size == (CARD_SIDE, CARD_SIDE)
    times = [picture.path.stat().st_mtime_ns for picture in pictures]
    assert [picture.path.stat().st_mtime_ns for picture in cards.pictures(LONG)] == times  # made once


def test_a_page_does_not_wait_for_pictures_while_the_network_is_busy(cards, maker):
    with maker.turns.turn(Deadline(LONG)):
        assert cards.pictures(wait_seconds=0.0) == [] and cards.is_making
    assert names_of(cards.pictures(LONG)) == ["stars", "waves"]


@pytest.mark.parametrize("fault", [GaveUp("late"), MemoryError(), OSError("disk"), KeyError("x")], ids=repr)
def test_a_picture_that_could_not_be_made_is_made_for_a_later_page(cards, monkeypatch, fault):
    made, faults = StyleCards._made, {"stars": fault}

    def failing(self, name):
        if name in faults:
            raise faults.pop(name)
        return made(self, name)

    monkeypatch.setattr(StyleCards, "_made", failing)
    assert names_of(cards.pictures(LONG)) == ["waves"]
    assert names_of(cards.pictures(LONG)) == ["stars", "waves"]


def test_a_style_that_cannot_be_used_is_tried_once(cards, monkeypatch):
    tried, made = [], StyleCards._made

    def failing(self, name):
        tried.append(name)
        if name == "stars":
            raise StyleError("damaged")
        return made(self, name)

    monkeypatch.setattr(StyleCards, "_made", failing)
    for _ in range(2):
        assert names_of(cards.pictures(LONG)) == ["waves"]
    assert tried == ["stars", "waves"]


def test_one_thread_makes_the_pictures_however_many_pages_ask(cards, maker):
    with maker.turns.turn(Deadline(LONG)):
        for _ in range(5):
            cards.pictures(wait_seconds=0.0)
        assert [thread.name for thread in threading.enumerate()].count("style cards") == 1
    assert cards.pictures(LONG)


def test_a_style_that_is_trained_again_gets_another_picture(cards, tmp_path):
    before = {picture.name: picture.path for picture in cards.pictures(LONG)}
    network = next(path for path in (tmp_path / "styles" / "waves").iterdir() if path.suffix == ".onnx")
    network.touch()
    after = {picture.name: picture.path for picture in cards.pictures(LONG)}
    assert after["stars"] == before["stars"] and after["waves"] != before["waves"]
