"""Pixels: frames, crop and resize, quality figures, the cell's background, image files. It may import host
and errors.
"""
