"""Masks that wait for their event: how many bytes, and for how long."""

from types import SimpleNamespace

from web.studio import mask_store
from web.studio.mask_store import MaskStore


def test_a_mask_is_given_once():
    masks = MaskStore()
    masks.add("a", b"mask")
    assert masks.take("a") == b"mask" and masks.take("a") is None


def test_a_picture_without_paint_is_known_and_replaces_no_mask():
    masks = MaskStore()
    masks.add("blank", b"")
    assert masks.take("blank") == b""
    masks.add("a", b"mask")
    masks.add("a", b"")
    assert masks.take("a") == b"mask"


def test_the_oldest_masks_make_room():
    masks = MaskStore(most_bytes=10_000)
    for key in "abc":
        masks.add(key, bytes(3000))
    assert masks.take("a") is None and masks.take("b") and masks.take("c")


def test_masks_without_content_and_long_keys_take_room_too():
    masks = MaskStore(most_bytes=100_000)
    for number in range(1000):
        masks.add(f"{number:0500}", b"")
    assert masks.stored_bytes <= 100_000


def test_a_mask_whose_event_does_not_come_is_forgotten(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(mask_store, "time", SimpleNamespace(monotonic=lambda: now[0]))
    masks = MaskStore(most_seconds=60)
    masks.add("a", b"mask")
    now[0] = 50
    masks.add("b", b"mask")
    now[0] = 100
    masks.add("c", b"mask")
    assert masks.take("a") is None and masks.take("b") == b"mask"
