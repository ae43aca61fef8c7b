"""What the page shows of the styles: a small picture in each of them, painter and year."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from system.console import printable
from web.pictures import PictureMaker
from web.previews import EXAMPLE
from web.shelf import StyleShelf, UnknownStyle, version_of
from web.turns import Deadline, GaveUp

logger = logging.getLogger(__name__)

FIRST = "great_wave"  # if there is one
CARD_SIDE = 176  # pixels; the pictures are square
_ROMAN = re.compile("[ivx]+")
CARD_SECONDS = 60.0  # that a picture may wait for the network
WAIT_SECONDS = 3.0  # that a page waits for pictures which are being made


class StyleCard(NamedTuple):
    """A style as visitors see it. source: painter, title and year; "" if unknown."""

    name: str
    title: str
    source: str


class CardPicture(NamedTuple):
    """The picture of a card."""

    name: str
    title: str
    path: Path


class StyleCards:
    """The cards of all styles, and a picture for each, which is made once and kept in cards_dir.

    A thread makes the pictures, one at a time, and ends when all are there.
    """

    def __init__(self, maker: PictureMaker, cards_dir: Path):
        self._maker, self._cards_dir = maker, cards_dir
        self._pictures: dict[
            tuple[str, int], Path | None
        ] = {}  # of a style and its version; None: the style cannot be used
        self._is_making, self._changed = False, threading.Condition()
        cards_dir.mkdir(parents=True, exist_ok=True)

    def cards(self) -> list[StyleCard]:
        return [card_of(self._maker.shelf, name) for name in self._maker.shelf.names()]

    @property
    def is_making(self) -> bool:
        """Whether pictures are being made now."""
        return self._is_making

    def start(self) -> None:
        """Makes the pictures that are not there yet, without waiting for them."""
        with self._changed:
            if self._is_making or not self._missing():
                return
            self._is_making = True
        threading.Thread(target=self._make_missing, name="style cards", daemon=True).start()

    def pictures(self, wait_seconds: float = WAIT_SECONDS) -> list[CardPicture]:
        """Returns the pictures that are there, in the order of `cards`; starts those that are not.

        wait_seconds: for those that are being made.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_making, wait_seconds)
        return [
            CardPicture(card.name, card.title, path)
            for card, key in self._keys()
            if (path := self._pictures.get(key)) is not None
        ]

    def _keys(self) -> Iterator[tuple[StyleCard, tuple[str, int]]]:
        """Each card with the name and version of its style."""
        for card in self.cards():
            with suppress(UnknownStyle, OSError):  # removed meanwhile
                yield card, (card.name, version_of(self._maker.shelf.folder(card.name)))

    def _missing(self) -> list[tuple[str, int]]:
        return [key for _, key in self._keys() if key not in self._pictures]

    def _make_missing(self) -> None:
        from transformer.export.style_folder import StyleError

        try:
            for key in self._missing():
                try:
                    self._pictures[key] = self._made(key[0])
                except StyleError:
                    self._pictures[key] = None
                except (GaveUp, MemoryError, OSError, ValueError) as error:  # tried again for the next page
                    logger.warning("no picture was made of the style %s: %s", key[0], printable(error))
                except (
                    Exception
                ):  # a fault of the program, which does not keep the others from their pictures
                    logger.exception("no picture was made of the style %s", key[0])
        finally:
            with self._changed:
                self._is_making = False
                self._changed.notify_all()

    def _made(self, name: str) -> Path:
        from data.images import save_image
        from transformer.inference.limits import DEFAULT_GRAIN
        from transformer.inference.loading import load_stylizer

        path = self._cards_dir / f"style{len(self._pictures)}.jpg"
        with self._maker.turns.turn(Deadline(CARD_SECONDS), is_refused=False):
            # ONNX Runtime, which is ready at once, and not kept, because a card needs one pass
            stylizer = load_stylizer(self._maker.shelf.folder(name), expected_pixels=1, grain=DEFAULT_GRAIN)
            save_image(path, stylizer(_example()))
        return path


def card_of(shelf: StyleShelf, name: str) -> StyleCard:
    """The card of a style; a style.json that cannot be read counts as none."""
    from transformer.export.style_folder import StyleError, style_info, style_source

    try:
        source = style_source(style_info(shelf.folder(name)))
    except StyleError:
        source = ""
    return StyleCard(name, title_of(name), source)


def title_of(name: str) -> str:
    """The name of a style as a title: composition_vii becomes Composition VII."""
    words = [word.upper() if _ROMAN.fullmatch(word) else word for word in name.replace("_", " ").split()]
    title = " ".join(words)
    return title[:1].upper() + title[1:]


def choices(cards: list[StyleCard]) -> list[tuple[str, str]]:
    """(label, name) of each style, for a list to choose from."""
    return [(f"{card.title} ({card.source})" if card.source else card.title, card.name) for card in cards]


def first_choice(cards: list[StyleCard]) -> str | None:
    """The style that is chosen when the page opens."""
    names = [card.name for card in cards]
    return FIRST if FIRST in names else next(iter(names), None)


def _example() -> Any:
    """The middle of the example photo [CARD_SIDE, CARD_SIDE, 3]."""
    from data.images import load_image, resize_image

    photo = load_image(EXAMPLE)
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return resize_image(photo[top : top + side, left : left + side], height=CARD_SIDE, width=CARD_SIDE)
