"""The same arithmetic and the same pictures on other engines (`engines`, `onnx_int8`), and the whole way of a result beside
what one would build from them (`rivals`).
"""
