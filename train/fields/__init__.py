"""Networks that find the cells of whole fields and tell their kind: data, networks, training, export, evaluation.

May import edge, export.convert's tools and the rest of train; needs TensorFlow.
"""
