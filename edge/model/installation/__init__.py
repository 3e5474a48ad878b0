"""Which model file a box runs: signatures, a trial on its own pictures, an atomic switch, the way back. It may import
what `edge.model` may, and `edge.model` itself.
"""
