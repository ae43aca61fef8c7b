"""data/clip_structure.py: what containers tell of missing and damaged parts."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import clip_structure
from data.clip_structure import structure_fault
from fuzz.clip import CLIPS, make_clip


def fault_of(content: bytes) -> str:
    return structure_fault(io.BytesIO(content), len(content))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, *clip).read_bytes() for name, clip in CLIPS.items()}


@pytest.mark.parametrize("name", CLIPS)
def test_a_whole_clip_has_no_fault(clips, name):
    assert fault_of(clips[name]) == ""


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
def test_a_clip_that_was_cut_off_has_one(clips, name, share):
    content = clips[name][: int(share * len(clips[name]))]
    if name in ("clip.ts", "clip.mpg"):  # between two packets a cut leaves no trace
        content = content[:-1] if len(content) % 188 % 2048 == 0 or len(content) % 2048 == 0 else content
    assert fault_of(content)


def test_the_fault_tells_how_many_bytes_there_are_and_should_be(clips):
    content = clips["clip.webm"]
    assert fault_of(content[:1000]) == f"it has 1000 of {len(content)} bytes"


def test_an_index_that_is_missing_is_named(clips):
    content = clips["clip.mp4"]
    assert fault_of(content[: content.index(b"moov") - 4]) == "its index (moov) is missing"


def test_a_changed_byte_in_a_block_with_a_checksum_is_found(clips):
    content = bytearray(clips["clip.mkv"])
    content[len(content) // 2] ^= 1
    assert "1 of" in fault_of(content) and "checksum" in fault_of(content)


def test_a_recording_of_unknown_length_is_whole_but_not_if_it_ends_within_a_block(tmp_path):
    import av

    with av.open(str(tmp_path / "live.mkv"), "w", options={"live": "1"}) as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            target.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        target.mux(stream.encode())
    content = (tmp_path / "live.mkv").read_bytes()
    assert fault_of(content) == "" and "bytes" in fault_of(content[:-3])


def test_joined_transport_streams_are_whole(clips):
    assert fault_of(2 * clips["clip.ts"]) == ""


def test_lost_packets_of_a_transport_stream_are_found():
    # one stream, 40 packets of a frame that starts with the first
    packets = [bytes([0x47, 0x41 if n == 0 else 0x01, 0x00, 0x10 | n % 16]) + bytes(184) for n in range(40)]
    assert fault_of(b"".join(packets)) == ""
    assert "1 places" in fault_of(b"".join(packets[:20] + packets[22:]))
    assert fault_of(b"".join(packets[:20] + packets[19:])) == ""  # a packet may be sent twice
    packets[7] = b"\x47\x81" + packets[7][2:]  # the mark of a transmission error
    assert "1 places" in fault_of(b"".join(packets))


def test_packets_without_their_mark_are_found(clips):
    content = bytearray(clips["clip.ts"])
    content[188 * 20] = 0
    assert fault_of(content) == f"it has unreadable data from byte {188 * 20} on"
    del content[188 * 10 : 188 * 10 + 5]
    assert fault_of(content).startswith("it has unreadable data")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.avi", "clip.webm"])
def test_what_other_programs_append_is_no_fault(clips, name):
    assert fault_of(clips[name] + b"TAG" + bytes(200)) == ""


def test_bytes_between_the_fragments_of_a_recording_are_a_fault(clips):
    content = clips["fragments.mp4"]
    at = content.rindex(b"mfra") - 4
    assert "unreadable" in fault_of(content[:at] + b"garbage " * 4 + content[at:])


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\x1aE\xdf\xa3", b"RIFF", b"RIFF\xff\xff\xff\xff", b"\0\0\1\xba"]
)
def test_a_header_alone_never_fails(content):
    assert isinstance(fault_of(content), str)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    name=st.sampled_from(list(CLIPS)),
    changes=st.lists(st.tuples(st.integers(0, 40_000), st.binary(max_size=12)), max_size=6),
    end=st.integers(0, 60_000),
)
def test_any_damage_is_described_in_one_line(clips, name, changes, end):
    content = bytearray(clips[name])
    for at, data in changes:
        content[at : at + len(data)] = data
    fault = fault_of(bytes(content[:end]))
    assert fault.isprintable() and len(fault) < 100


class CountingFile(io.BytesIO):
    reads = 0

    def read(self, size=-1):
        self.reads += 1
        return super().read(size)


PACK = b"\0\0\1\xba\x44" + bytes(8) + b"\xf8"  # of an MPEG program stream


@pytest.mark.parametrize("zeros", [*range(9), 8191, 8192, 8193, 1_000_000])
def test_padding_between_packs_is_skipped_in_blocks(zeros):
    for end, fault in ((b"", ""), (PACK, ""), (b"\0\0\1\xb9", ""), (b"\1\0\0\0\0", "unreadable")):
        file = CountingFile(PACK + bytes(zeros) + end)
        found = structure_fault(file, len(file.getvalue()))
        assert fault in found and bool(fault) == bool(found)
        assert file.reads < 200


@pytest.mark.parametrize(
    "start, part",
    [
        (b"\0\0\0\x08ftyp", b"\0\0\0\x08free"),
        (b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7, b"\xec\x80"),
        (b"RIFF\0\0\0\0AVI ", b"JUNK\0\0\0\0"),
        (PACK, b"\0\0\1\xbe\0\0"),
        (PACK, b"\0\0\1\xbe\0\0\0"),
    ],
    ids=["mov", "matroska", "avi", "mpeg", "mpeg with padding"],
)
def test_a_file_of_very_many_parts_is_not_judged_to_its_end(monkeypatch, start, part):
    monkeypatch.setattr(clip_structure, "_MOST_PARTS", 1000)
    file = CountingFile(start + 5000 * part)
    assert structure_fault(file, len(file.getvalue())) == ""
    assert 500 < file.reads < 5000


def test_a_transport_stream_of_very_many_streams_is_checked_at_once():
    packets = np.zeros((40_000, 188), np.uint8)
    streams = 0x20 + np.arange(len(packets)) % 8000
    numbers = np.arange(len(packets)) // 8000
    packets[:, :4] = np.stack(
        [np.full_like(streams, 0x47), streams >> 8, streams & 255, 0x10 | numbers], axis=1
    )
    start = time.process_time()
    assert fault_of(packets.tobytes()) == ""
    assert fault_of(packets[[*range(9000), *range(17_001, 40_000)]].tobytes()) == (
        "packets are missing or damaged in 8000 places"
    )
    assert time.process_time() - start < 1


def test_the_size_of_a_box_may_take_64_bits():
    content = (
        b"\0\0\0\x10ftypisom\0\0\0\0"
        + b"\0\0\0\x08moov"
        + b"\0\0\0\x01mdat"
        + (20).to_bytes(8, "big")
        + b"1234"
    )
    assert fault_of(content) == ""
    assert fault_of(content[:-1]) == f"it has {len(content) - 1} of {len(content)} bytes"


def test_clips_of_every_suffix_that_is_read_are_tested():
    from data.clip_formats import VIDEO_SUFFIXES

    assert {Path(name).suffix for name in CLIPS} == VIDEO_SUFFIXES - {
        ".m4v",
        ".mpeg",
    }  # other names of these
