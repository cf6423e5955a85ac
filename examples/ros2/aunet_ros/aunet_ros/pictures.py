"""sensor_msgs/Image as uint8 (H, W, 3) BGR, and back, without cv_bridge."""

from __future__ import annotations

import numpy as np

CHANNELS = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
YUV = {"yuv422_yuy2": "COLOR_YUV2BGR_YUY2", "yuyv": "COLOR_YUV2BGR_YUY2", "yuv422": "COLOR_YUV2BGR_UYVY"}


def to_bgr(message: object) -> np.ndarray:
    """The picture of a sensor_msgs/Image. Raises ValueError for an encoding that is not known, and for data that are
    not as long as they should be."""
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if data.size != height * step or height < 1 or width < 1:
        raise ValueError(f"expected {height} rows of {step} bytes, got {data.size} bytes")
    rows = data.reshape(height, step)
    if encoding in YUV:
        import cv2

        return cv2.cvtColor(rows[:, : 2 * width].reshape(height, width, 2), getattr(cv2, YUV[encoding]))
    channels = CHANNELS.get(encoding)
    if channels is None:
        raise ValueError(f"expected one of {', '.join([*CHANNELS, *YUV])}, got the encoding {encoding!r}")
    image = rows[:, : width * channels].reshape(height, width, channels)
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    image = image[:, :, :3]
    return np.ascontiguousarray(image[:, :, ::-1] if encoding.startswith("rgb") else image)
