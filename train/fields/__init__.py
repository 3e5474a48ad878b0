"""Networks that find the cells of whole fields and tell their kind: data, networks, training, export, evaluation.

May import edge, export.int8.convert's tools and the rest of train; needs TensorFlow.
"""
