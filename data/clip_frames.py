"""Frames of PyAV <-> images [H, W, 3], RGB, float32, 0..255, upright. PyAV is imported on first use."""

import numpy as np

HD_HEIGHT = 720  # pixels; video without a color matrix is BT.709 from this size on, BT.601 below
# FFmpeg's numbers of color spaces (AVColorSpace) and of the limited color range (AVColorRange).
BT709, UNSPECIFIED, BT601, LIMITED_RANGE = 1, 2, 5, 1


def usual_matrix(height: int, width: int) -> str:
    """Returns PyAV's name of the color matrix that is usual for video of a size."""
    return "ITU709" if min(height, width) >= HD_HEIGHT else "ITU601"


def image_of(frame) -> np.ndarray:
    """Converts a frame of PyAV to an upright image [H, W, 3]."""
    is_specified = int(frame.colorspace) != UNSPECIFIED
    matrix = None if is_specified else usual_matrix(frame.height, frame.width)
    image = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray().astype(np.float32)
    angle = getattr(frame, "rotation", 0)  # a large number if the file has a display matrix of zeros
    turns = round(angle / 90) % 4 if abs(angle) <= 360 else 0  # counterclockwise, like those of np.rot90
    return np.ascontiguousarray(np.rot90(image, turns))


def even(pixels: np.ndarray) -> np.ndarray:
    """Extends odd sides of pixels [H, W, 3] by one pixel, because the codecs need even ones."""
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def frame_of(pixels_u8: np.ndarray, height: int, width: int):
    """Returns a frame of PyAV for the encoder, of another size than the pixels where theirs changes on the way."""
    import av

    frame = av.VideoFrame.from_ndarray(pixels_u8, format="rgb24")
    matrix = usual_matrix(height, width)
    return frame.reformat(width=width, height=height, format="yuv420p", dst_colorspace=matrix)
