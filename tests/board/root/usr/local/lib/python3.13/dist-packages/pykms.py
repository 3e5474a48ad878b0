"""Stands in for kms++ on the virtual board, where it is not packaged: picamera2 imports it for its window alone."""


class PixelFormat:
    """The names that picamera2's preview reads when it is imported; nothing is ever drawn with them."""

    RGB888 = BGR888 = XRGB8888 = XBGR8888 = YUV420 = YVU420 = ABGR8888 = None
