"""data/clip_source.py: only local files of the listed formats, and damage is counted."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from data.clip_source import SourceClip, check_clip
from data.decoding import ImageError
from data.video import stylize_video, video_frames
from fuzz.clip import CLIPS, FRAMES, make_clip
from system.machine import peak_memory


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, *clip) for name, clip in CLIPS.items()}


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught, SourceClip(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable() and len(message) < len(str(path)) + 300
    return message


def fault_of(path: Path) -> str:
    with SourceClip(path) as clip:
        for _ in clip.parts():
            pass
        return clip.fault()


@pytest.mark.parametrize("name", CLIPS)
def test_a_whole_clip_of_every_format_has_no_fault(clips, name):
    assert fault_of(clips[name]) == ""
    assert len(list(video_frames(clips[name]))) == FRAMES


@pytest.mark.parametrize(
    "name",
    [
        "12:30.mp4",
        "http:x.mp4",
        "-x.mp4",
        "concat:a.mp4",
        "file:a.mp4",
        "pipe:0.mp4",
        "image%03d.mp4",
        "a\udcff.mp4",
    ]
    + [
        "subfile,,start,0,end,0,,:a.mp4",
        "cache:a.mp4",
        "data:a.mp4",
        "a?b#c.mp4",
        "ümläut 波.mp4",
        "a\nb.mp4",
    ],
)
def test_a_name_is_never_an_address(clips, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clips["clip.mp4"].read_bytes())
    assert stylize_video(Path(name), Path("out.mkv"), lambda image: image) == FRAMES


LISTS = {
    "a list of files": "ffconcat version 1.0\nfile {clip}\n",
    "a list without its mark": "file {clip}\n",
    "a playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "a playlist of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "a session description": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "a manifest": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
    "a picture": "P6\n2 2\n255\n............",
    "subtitles": "1\n00:00:01,000 --> 00:00:02,000\nhello\n",
    "a reference to a movie": "RTSPtext\r\nrtsp://127.0.0.1/x\r\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mpg"])
@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_a_text_opens_no_other_file_and_no_address(clips, tmp_path, monkeypatch, text, suffix):
    requests = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        path = tmp_path / f"list{suffix}"
        url = f"http://127.0.0.1:{server.server_port}"
        path.write_text(text.format(clip=clips["clip.ts"], url=url))
        try:
            assert "is damaged or not a video" in refusal(path)
        finally:
            server.shutdown()
            thread.join()
    assert requests == []


def test_a_movie_that_refers_to_another_file_does_not_open_it(clips, tmp_path):
    content = clips["clip.mov"].read_bytes()
    at = content.index(b"url \0\0\0\1")  # "the data is in this file"
    content = content[: at + 7] + b"\0" + content[at + 8 :]
    (tmp_path / "a.mov").write_bytes(content)
    opened = []

    class Recorder:
        def __call__(self, url, flags, options):
            opened.append(url)

    assert isinstance(fault_of(tmp_path / "a.mov"), str) and opened == []


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "broken link", "empty", "missing", "loop"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "broken link": lambda: path.symlink_to("nowhere"),
        "empty": path.touch,
        "missing": lambda: None,
        "loop": lambda: path.symlink_to("clip.mp4"),
    }[kind]()
    message = refusal(path)
    words = {
        "fifo": "pipe",
        "folder": "folder",
        "device": "device",
        "empty": "empty",
        "loop": "cannot be read",
    }
    assert words.get(kind, "no such file") in message
    with pytest.raises(ImageError):
        check_clip(path)


@pytest.mark.parametrize("side", [20_000, 2**30])
def test_frames_of_an_absurd_size_are_refused_before_they_are_decoded(tmp_path, side):
    with av.open(str(tmp_path / "large.avi"), "w") as target:
        stream = target.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        target.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")) + stream.encode())
    content = (tmp_path / "large.avi").read_bytes()
    header = content.index(b"strf") + 8  # BITMAPINFOHEADER: size, width, height
    size = side.to_bytes(4, "little")
    (tmp_path / "large.avi").write_bytes(content[: header + 4] + size + size + content[header + 12 :])
    before = peak_memory()
    with pytest.raises(ImageError, match=r"contains no readable frame: .*at most 100 million pixels"):
        stylize_video(tmp_path / "large.avi", tmp_path / "new.mp4", lambda image: image)
    assert peak_memory() - before < 100e6 and not (tmp_path / "new.mp4").exists()


def test_frames_of_more_than_the_most_pixels_are_refused_by_their_size(clips, monkeypatch):
    with SourceClip(clips["clip.mp4"]) as clip:
        monkeypatch.setattr("data.clip_source.MAX_FRAME_PIXELS", 1023)
        with pytest.raises(
            ImageError, match=r"its frames have 32x32 pixels, more than .*; scale it down first"
        ):
            clip._check_size()


def test_frames_that_memory_cannot_hold_are_refused(clips, monkeypatch):
    monkeypatch.setattr("data.clip_source.available_memory", lambda: 10_000.0)
    assert "32x32 pixels, which take 0.0 GB, more than is free" in refusal(clips["clip.mp4"])


def test_a_cover_picture_is_no_video(tmp_path):
    from av.stream import Disposition

    with av.open(str(tmp_path / "song.mp4"), "w") as target:
        tone = target.add_stream("aac", rate=48000)
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = (
            32,
            32,
            "yuvj420p",
            Disposition.attached_pic,
        )
        picture = av.VideoFrame(32, 32, "yuvj420p")
        picture.pts = 0
        target.mux(cover.encode(picture) + cover.encode())
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        block.rate, block.pts = 48000, 0
        target.mux(tone.encode(block) + tone.encode())
    assert "contains no video stream" in refusal(tmp_path / "song.mp4")


def test_a_codec_that_is_not_listed_is_refused_by_name(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as target:
        stream = target.add_stream("magicyuv", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        target.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")) + stream.encode())
    assert "its video codec (magicyuv) is not supported; convert it to H.264" in refusal(tmp_path / "a.avi")


def test_the_decoder_of_vvc_which_writes_beyond_its_buffers_is_never_opened(clips, tmp_path):
    content = clips["clip.mkv"].read_bytes()
    assert b"V_MPEG4/ISO/AVC" in content
    (tmp_path / "a.mkv").write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_MPEGI/ISO/VVC"))
    assert "its video codec (vvc) is not supported" in refusal(tmp_path / "a.mkv")


def test_a_refused_clip_is_closed_before_its_file(clips, monkeypatch):
    events = []

    class Container:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            events.append(self.file.closed)

    def open_container(clip):
        container = Container()
        container.file = clip._file
        events.append(clip._file)
        return container

    monkeypatch.setattr(SourceClip, "_open_container", open_container)
    with pytest.raises(AttributeError):  # the container has no streams
        SourceClip(clips["clip.mp4"])
    file, was_closed = events
    assert file.closed and not was_closed


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_damaged_frames_are_counted(clips, tmp_path, name):
    with av.open(str(clips[name])) as source:
        places = [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
    content = bytearray(clips[name].read_bytes())
    at, size = max(places[1:], key=lambda place: place[1])
    start = at + {"clip.mp4": 5}.get(name, 8)
    content[start : start + max(8, size // 2)] = bytes([255]) * max(8, size // 2)
    (tmp_path / name).write_bytes(content)
    assert fault_of(tmp_path / name)


def test_damaged_sound_is_found_though_it_is_copied_undecoded(clips, tmp_path):
    with av.open(str(clips["clip.mp4"])) as source:
        places = [(packet.pos, packet.size) for packet in source.demux(audio=0) if packet.size]
    content = bytearray(clips["clip.mp4"].read_bytes())
    for at, size in places[2:4]:
        content[at : at + size] = bytes([255]) * size
    (tmp_path / "a.mp4").write_bytes(content)
    assert "2 sound packets are damaged" in fault_of(tmp_path / "a.mp4")


def test_a_disk_that_cannot_be_read_is_damage_and_not_a_traceback(clips, monkeypatch):
    with SourceClip(clips["clip.mkv"]) as clip:
        parts = clip.parts()
        next(parts)

        def fail(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(
            clip._stream, "_stream", type("Broken", (), {"read": fail, "seek": fail, "tell": fail})()
        )
        monkeypatch.setattr("data.clip_source.structure_fault", fail)
        for _ in parts:
            pass
        assert "it cannot be read (Input/output error)" in clip.fault()


def test_a_recording_that_begins_between_two_key_frames_is_whole(tmp_path):
    """So begin recordings of broadcasts. The frames before the first key frame cannot be decoded."""
    generator = np.random.default_rng(0)
    with av.open(str(tmp_path / "all.ts"), "w", format="mpegts") as target:
        stream = target.add_stream("libx264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(40):
            pixels_u8 = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_u8, format="rgb24")))
        target.mux(stream.encode())
    with av.open(str(tmp_path / "all.ts")) as source:
        places = [packet.pos for packet in source.demux(video=0) if packet.size]
    (tmp_path / "late.ts").write_bytes((tmp_path / "all.ts").read_bytes()[places[4] :])
    with SourceClip(tmp_path / "late.ts") as clip:
        frames = sum(1 for _ in clip.parts())
        assert clip.fault() == "" and 30 <= frames < 40
