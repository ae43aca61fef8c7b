"""What the page shows of the styles: a small picture in each of them, painter and year."""

import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

from web.pictures import PictureMaker
from web.shelf import StyleShelf

FIRST = "great_wave"  # if there is one
CARD_SIDE = 176  # pixels; the pictures are square
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chelsea.jpg"
_ROMAN = re.compile("[ivx]+")
CARD_SECONDS = 60.0  # that the pictures may wait for the network


class StyleCard(NamedTuple):
    """A style as visitors see it. source: painter, title and year; "" if unknown."""

    name: str
    title: str
    source: str


class StyleCards:
    """The cards of all styles, and a picture for each, which is made once and kept in cards_dir."""

    def __init__(self, maker: PictureMaker, cards_dir: Path):
        self._maker, self._cards_dir = maker, cards_dir
        self._pictures: dict[tuple[str, int], Path] = {}  # of a style and the time of its network
        self._lock = threading.Lock()
        cards_dir.mkdir(parents=True, exist_ok=True)

    def cards(self) -> list[StyleCard]:
        return [card_of(self._maker.shelf, name) for name in self._maker.shelf.names()]

    def start(self) -> None:
        """Makes the pictures in a thread, so that they are there when the first visitor comes."""
        threading.Thread(target=self.pictures, name="style cards", daemon=True).start()

    def pictures(self) -> list[tuple[str, str]]:
        """Returns (path of the picture, title) of every style that can be used, in the order of `cards`."""
        with self._lock:
            return [
                (str(path), card.title)
                for card in self.cards()
                if (path := self._picture(self._maker.shelf.folder(card.name))) is not None
            ]

    def names(self) -> list[str]:
        """The names of the styles in the order of `pictures`."""
        with self._lock:
            return [
                card.name
                for card in self.cards()
                if self._pictures.get(_key(self._maker.shelf.folder(card.name))) is not None
            ]

    def _picture(self, style_dir: Path) -> Path | None:
        """None for a style that cannot be used."""
        key = _key(style_dir)
        if key not in self._pictures:
            self._pictures[key] = self._made(style_dir, len(self._pictures))
        return self._pictures[key]

    def _made(self, style_dir: Path, number: int) -> Path | None:
        from data.images import save_image
        from transformer.export.style_folder import StyleError
        from transformer.inference.limits import DEFAULT_GRAIN
        from transformer.inference.loading import load_stylizer
        from web.turns import Deadline

        path = self._cards_dir / f"style{number}.jpg"
        try:
            with self._maker.turns.turn(Deadline(CARD_SECONDS), is_refused=False):
                # ONNX Runtime, which is ready at once, and not kept, because a card needs one pass
                save_image(path, load_stylizer(style_dir, expected_pixels=1, grain=DEFAULT_GRAIN)(_example()))
        except (StyleError, MemoryError):
            return None
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


def _key(style_dir: Path) -> tuple[str, int]:
    return style_dir.name, max((path.stat().st_mtime_ns for path in style_dir.iterdir()), default=0)


def _example() -> Any:
    """The middle of the example photo [CARD_SIDE, CARD_SIDE, 3]."""
    from data.images import load_image, resize_image

    photo = load_image(EXAMPLE)
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return resize_image(photo[top : top + side, left : left + side], height=CARD_SIDE, width=CARD_SIDE)
