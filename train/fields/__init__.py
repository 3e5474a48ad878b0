"""What finds the cells of whole fields and tells their kind: data, networks, training, export, judging.

May import edge, export.convert's tools and the rest of train; needs TensorFlow.
"""
