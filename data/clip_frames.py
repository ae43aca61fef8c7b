"""Frames of PyAV <-> images [H, W, 3], RGB, float32, 0..255, upright. PyAV is imported on first use."""

from typing import NamedTuple

import numpy as np

HD_HEIGHT = 720  # pixels; video without a color matrix is BT.709 from this size on, BT.601 below
# FFmpeg's numbers of color spaces (AVColorSpace) and of the limited color range (AVColorRange).
BT709, UNSPECIFIED, BT601, LIMITED_RANGE = 1, 2, 5, 1
# FFmpeg's numbers of color spaces -> PyAV's names of their matrices. Others, such as RGB, have no usual matrix.
_MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020"}


class ColorTags(NamedTuple):
    """What the numbers of a video mean: FFmpeg's numbers of primaries, transfer (PQ, HLG) and matrix."""

    primaries: int
    transfer: int
    matrix: int

    @property
    def matrix_name(self) -> str:
        """PyAV's name of the matrix."""
        return _MATRICES[self.matrix]


def usual_matrix(height: int, width: int) -> int:
    """Returns FFmpeg's number of the color matrix that is usual for video of a size."""
    return BT709 if min(height, width) >= HD_HEIGHT else BT601


class ClipFrame:
    """A frame of a video, for the pipeline of video.py.

    frame: of PyAV. time: in the time base of the stream, or None.
    """

    def __init__(self, frame):
        self._frame = frame
        self.time = frame.dts if frame.pts is None else frame.pts
        self.is_deep = max(component.bits for component in frame.format.components) > 8

    def image(self) -> np.ndarray:
        """Returns the upright image [H, W, 3]."""
        frame = self._frame
        is_specified = int(frame.colorspace) != UNSPECIFIED
        matrix = None if is_specified else _MATRICES[usual_matrix(frame.height, frame.width)]
        layout = "rgb48le" if self.is_deep else "rgb24"
        pixels = frame.reformat(format=layout, src_colorspace=matrix).to_ndarray()
        image = pixels.astype(np.float32)
        if pixels.dtype == np.uint16:
            image /= 257  # 65535 is 255
        angle = getattr(frame, "rotation", 0)  # a large number if the file has a display matrix of zeros
        turns = round(angle / 90) % 4 if abs(angle) <= 360 else 0  # counterclockwise, like those of np.rot90
        return np.ascontiguousarray(np.rot90(image, turns))

    def color_tags(self, height: int, width: int) -> ColorTags:
        """Returns the tags for a copy of a size; its matrix is the usual one if the frame names none."""
        matrix = int(self._frame.colorspace)
        known = matrix if matrix in _MATRICES else usual_matrix(height, width)
        return ColorTags(int(self._frame.color_primaries), int(self._frame.color_trc), known)


def even(pixels: np.ndarray) -> np.ndarray:
    """Extends odd sides of pixels [H, W, 3] by one pixel, because the codecs need even ones."""
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def frame_of(pixels: np.ndarray, height: int, width: int, pixel_format: str, tags: ColorTags):
    """Returns a frame of PyAV for the encoder, of another size than the pixels where theirs changes on the way.

    pixels: [H, W, 3] of uint8 or uint16.
    """
    import av

    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24" if pixels.dtype == np.uint8 else "rgb48le")
    frame = frame.reformat(width=width, height=height, format=pixel_format, dst_colorspace=tags.matrix_name)
    frame.color_primaries, frame.color_trc, frame.colorspace = tags
    return frame
