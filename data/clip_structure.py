"""Whether a video file is whole, as far as its container tells: the sizes that it claims, checksums, packet marks.

FFmpeg reads what is left of a file that was cut off or damaged and reports nothing. The containers tell more: MP4,
AVI and ASF write down their sizes, Matroska also checksums, MPEG-TS counts its packets.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

_CHUNK = 1 << 20  # bytes read at once
_ZEROS = bytes(8192)  # padding is skipped in blocks of this size
# About a second of work; the rest of a file with more boxes, elements, chunks or packets is not judged.
_MOST_PARTS = 500_000
_MOV_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"uuid", b"meta", b"udta")
    + (b"pnot", b"PICT", b"styp", b"sidx", b"ssix", b"emsg", b"prft", b"pdin")
)
_SEGMENT, _CLUSTER, _CRC = 0x18538067, 0x1F43B675, 0xBF
# SeekHead, Info, Tracks, Cluster, Cues, Attachments, Chapters, Tags, Void, CRC-32
_SEGMENT_CHILDREN = frozenset(
    (0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, _CRC)
)
# Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock, Void, CRC-32
_CLUSTER_CHILDREN = frozenset((0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, _CRC))
_AVI_CHUNK = re.compile(rb"[0-9a-zA-Z_ ]{4}")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_TS_SYNC, _TS_SIZES = 0x47, (188, 192, 204)  # with a time in front, with Reed-Solomon bytes behind
_TS_TABLE_PID, _TS_FIRST_STREAM, _TS_STUFFING_PID = 0, 0x20, 0x1FFF
_PACK, _PROGRAM_END = 0xBA, 0xB9  # start codes of MPEG program streams


def structure_fault(file: BinaryIO, size: int) -> str:
    """Returns what the container says is missing or damaged in a file of `size` bytes, in a few words; "" for nothing.

    Formats without marks of their own, such as bare MPEG streams, count as whole.
    """
    file.seek(0)
    head = file.read(16)
    try:
        return _check_of(head)(file, size)
    except (struct.error, IndexError):  # the file ends within a header
        return f"the file ends too early, after {size} bytes"


def _check_of(head: bytes):
    if head[4:8] in _MOV_BOXES:
        return _mov_fault
    for start, check in {
        b"\x1aE\xdf\xa3": _matroska_fault,
        b"RIFF": _avi_fault,
        _ASF_HEADER: _asf_fault,
        b"\0\0\1\xba": _program_stream_fault,
    }.items():
        if head.startswith(start):
            return check
    return _transport_stream_fault


def _cut_off(size: int, claimed: int) -> str:
    return f"it has {size} of {claimed} bytes"


def _unreadable(at: int) -> str:
    return f"it has unreadable data from byte {at} on"


def _mov_fault(file: BinaryIO, size: int) -> str:
    at, kinds = 0, set()
    for _ in range(_MOST_PARTS):
        if at > size:
            return _cut_off(size, at)
        if at + 8 > size:
            return "" if b"moov" in kinds else "its index (moov) is missing"
        file.seek(at)
        head = file.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        if kind not in _MOV_BOXES:
            # Other programs append data of their own, but nothing stands between the fragments of a recording.
            return _unreadable(at) if b"moov" not in kinds or b"moof" in kinds else ""
        kinds.add(kind)
        if length == 1:
            (length,) = struct.unpack(">Q", head[8:16])
        if length == 0:  # up to the end of the file
            length = size - at
        if length < 8:
            return _unreadable(at)
        at += length
    return ""


class _Element(NamedTuple):
    """An EBML element: its identifier, where its data starts and ends; `end` is None where the size is unknown."""

    identifier: int
    start: int
    end: int | None


def _element(file: BinaryIO, at: int) -> _Element:
    file.seek(at)
    head = file.read(12)
    id_length = 9 - head[0].bit_length()
    size_length = 9 - head[id_length].bit_length()
    start = id_length + size_length
    size = int.from_bytes(head[id_length:start], "big") & ((1 << 7 * size_length) - 1)
    is_unknown = size == (1 << 7 * size_length) - 1
    if len(head) < start or size_length > 8:
        raise IndexError
    return _Element(
        int.from_bytes(head[:id_length], "big"), at + start, None if is_unknown else at + start + size
    )


def _matroska_fault(file: BinaryIO, size: int) -> str:
    header = _element(file, 0)
    segment = _element(file, header.end or 0)
    if segment.identifier != _SEGMENT:
        return _unreadable(header.end or 0)
    if segment.end is not None and segment.end > size:
        return _cut_off(size, segment.end)
    checked = failed = 0
    for at, element in _elements(file, segment.start, segment.end or size):
        if element is None:
            return _unreadable(at)
        if element.end is not None and element.end > size:
            return _cut_off(size, element.end)
        is_intact = _is_intact(file, element)
        checked, failed = checked + (is_intact is not None), failed + (is_intact is False)
    return f"{failed} of {checked} blocks of data have a wrong checksum" if failed else ""


def _elements(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, _Element | None]]:
    """Yields the elements of a segment with their positions, those of clusters without checksum too.

    The last is None where something else stands.
    """
    for _ in range(_MOST_PARTS):
        if at >= end:
            return
        element = _element(file, at)
        if element.identifier not in _SEGMENT_CHILDREN | _CLUSTER_CHILDREN:
            yield at, None
            return
        yield at, element
        enters = element.identifier == _CLUSTER and _checksum(file, element) is None
        if element.end is None and not enters:
            yield at, None
            return
        at = element.start if enters else element.end


def _checksum(file: BinaryIO, element: _Element) -> int | None:
    """The CRC-32 that the element starts with; None without one."""
    file.seek(element.start)
    head = file.read(6)
    is_checked = element.end is not None and head[:2] == b"\xbf\x84" and len(head) == 6
    return int.from_bytes(head[2:], "little") if is_checked else None


def _is_intact(file: BinaryIO, element: _Element) -> bool | None:
    """Whether the checksum of an element fits its data; None for an element without one."""
    has_children = element.identifier in _SEGMENT_CHILDREN - {_CRC, 0xEC}
    expected = _checksum(file, element) if has_children else None
    if expected is None:
        return None
    found, left = 0, element.end - element.start - 6
    while left > 0:
        data = file.read(min(_CHUNK, left))
        if not data:
            return False
        found, left = zlib.crc32(data, found), left - len(data)
    return found == expected


def _avi_fault(file: BinaryIO, size: int) -> str:
    at, riff_end = 0, 0
    for _ in range(_MOST_PARTS):
        if at + 8 > size:
            break
        file.seek(at)
        head = file.read(12)
        name, length = struct.unpack("<4sI", head[:8])
        end = at + 8 + length + length % 2
        if name == b"RIFF":
            is_unknown = length in (0, 0xFFFFFFFF)  # in a recording that was not finished
            riff_end = 0 if is_unknown else end
            if riff_end > size + 1:
                return _cut_off(size, riff_end)
            at += 12
            continue
        if at >= riff_end > 0:
            return ""  # another program has appended data
        if not _AVI_CHUNK.fullmatch(name):
            return _unreadable(at)
        if end > size + 1:
            return _cut_off(size, end)
        at = at + 12 if name == b"LIST" and head[8:] in (b"movi", b"rec ") else end
    return ""


def _asf_fault(file: BinaryIO, size: int) -> str:
    file.seek(0)
    header = file.read(1 << 16)
    at = header.find(_ASF_FILE_PROPERTIES)
    if at < 0:
        return ""
    (claimed,) = struct.unpack_from("<Q", header, at + 40)
    (flags,) = struct.unpack_from("<I", header, at + 88)
    is_broadcast = flags & 1  # the size was not known when the header was written
    return _cut_off(size, claimed) if claimed > size and not is_broadcast else ""


def _program_stream_fault(file: BinaryIO, size: int) -> str:
    at = 0
    for _ in range(_MOST_PARTS):
        if at + 4 > size:
            break
        file.seek(at)
        head = file.read(14)
        if head[:3] == _ZEROS[:3]:  # padding between packs
            at = _end_of_padding(file, at)
            continue
        if head[:3] != b"\0\0\1" or head[3] < _PROGRAM_END:
            return _unreadable(at)
        if head[3] == _PACK:
            at += 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12  # MPEG-2, MPEG-1
        elif head[3] == _PROGRAM_END:
            at += 4
        else:
            at += 6 + int.from_bytes(head[4:6], "big")
    return _cut_off(size, at) if at > size else ""


def _end_of_padding(file: BinaryIO, at: int) -> int:
    """Returns the end of the zeros that start at `at`, or where the start code begins that has its zeros from them."""
    file.seek(at)
    while (block := file.read(len(_ZEROS))) == _ZEROS:
        at += len(block)
    rest = block.lstrip(b"\0")
    return at + len(block) - len(rest) - (2 if rest else 0)


def _transport_stream_fault(file: BinaryIO, size: int) -> str:
    file.seek(0)
    layout = _transport_layout(file.read(16 * max(_TS_SIZES)))
    if layout is None:
        return ""  # a bare stream
    start, packet_size = layout
    last_numbers = np.full(_TS_STUFFING_PID + 1, -1)
    lost = 0
    file.seek(start)
    for first in range(start, size, 4096 * packet_size):
        data = np.frombuffer(file.read(4096 * packet_size), np.uint8)
        packets = data[: len(data) // packet_size * packet_size].reshape(-1, packet_size)
        marked = packets[:, 0] == _TS_SYNC
        if not marked.all():
            return _unreadable(first + int(marked.argmin()) * packet_size)
        lost += _lost_packets(packets, last_numbers)
    if lost:
        return f"packets are missing or damaged in {lost} places"
    return "it ends within a packet" if (size - start) % packet_size not in (0, packet_size - 188) else ""


def _transport_layout(head: bytes) -> tuple[int, int] | None:
    """The position of the first packet mark and the size of packets; None in other files."""
    best, most = None, 0.5  # the share of marks that are where they should be
    for packet_size in _TS_SIZES:
        for start in range(min(packet_size, len(head))):
            marks = head[start::packet_size]
            share = marks.count(_TS_SYNC) / len(marks)
            if len(marks) >= 3 and share > most:
                best, most = (start, packet_size), share
    return best


def _lost_packets(packets: np.ndarray, last_numbers: np.ndarray) -> int:
    """Counts gaps in packets [N, 188 or more], uint8. last_numbers: of each stream, -1 before it; it is updated.

    A gap does not count before a frame that a program table precedes: so begins each part of a joined recording.
    """
    streams = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
    has_payload = packets[:, 3] & 0x10 > 0
    starts = packets[:, 1] & 0x40 > 0
    announced = (packets[:, 3] & 0x20 > 0) & (packets[:, 4] > 0) & (packets[:, 5] & 0x80 > 0)
    numbers = packets[:, 3].astype(int) & 0x0F
    tables = np.cumsum(streams == _TS_TABLE_PID)
    lost = int((packets[:, 1] & 0x80 > 0).sum())  # packets with the mark of a transmission error
    counted = has_payload & (streams >= _TS_FIRST_STREAM) & (streams != _TS_STUFFING_PID)
    # The packets of each stream together.
    order = np.flatnonzero(counted)[np.argsort(streams[counted], kind="stable")]
    streams, numbers, tables = streams[order], numbers[order], tables[order]
    is_first = np.diff(streams, prepend=-1) > 0
    known = np.where(last_numbers[streams] < 0, numbers, last_numbers[streams])
    gaps = (numbers - np.where(is_first, known, np.roll(numbers, 1))) % 16 > 1
    joins = starts[order] & (tables > np.where(is_first, 0, np.roll(tables, 1)))
    last_numbers[streams] = numbers  # of several packets the last one counts
    return lost + int((gaps & ~joins & ~announced[order]).sum())
