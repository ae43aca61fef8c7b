"""Which video files are read: their suffixes, and FFmpeg's names of the containers and codecs."""

from pathlib import Path

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ts"})
ANIMATION_SUFFIXES = frozenset({".gif", ".webp"})  # still pictures, or animations: their content decides
# The demuxers of these formats; the last two read bare MPEG streams. None of them opens other files, as those of
# playlists and lists of files do.
DEMUXERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegts", "asf", "mpegvideo", "m4v")
# The decoders of what cameras, editors and these containers use. FFmpeg has hundreds more, of games and old formats.
# Each is code that a malformed file can attack: before 8.1.2 MagicYUV wrote beyond its buffers (CVE-2026-8461).
# VVC does so before FFmpeg 8.1.3 (CVE-2026-125244) and is not listed, because PyAV 18.1 contains 8.1.2.
_VIDEO_DECODERS = (
    "h264 hevc libdav1d av1 vp8 vp9 libvpx libvpx-vp9 mpeg1video mpeg2video mpegvideo mpeg4 h263 h263p flv theora"
    " msmpeg4 msmpeg4v1 msmpeg4v2 wmv1 wmv2 wmv3 vc1 mjpeg mjpegb prores dnxhd dvvideo cfhd ffv1 huffyuv ffvhuff"
    " utvideo rawvideo v210 qtrle rpza png svq1 svq3 cinepak msvideo1 msrle indeo3 indeo4 indeo5"
)
_SOUND_DECODERS = (
    "aac aac_latm mp1 mp1float mp2 mp2float mp3 mp3float ac3 eac3 dca truehd mlp flac alac opus libopus vorbis"
    " wmav1 wmav2 wmapro wmalossless wmavoice amrnb amrwb pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le"
    " pcm_s32be pcm_u8 pcm_s8 pcm_f32le pcm_f32be pcm_alaw pcm_mulaw pcm_bluray pcm_dvd adpcm_ms adpcm_ima_wav"
    " adpcm_ima_qt"
)
DECODERS = frozenset(f"{_VIDEO_DECODERS} {_SOUND_DECODERS}".split())


def is_video(path: Path) -> bool:
    """Returns whether the suffix of a path is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES
