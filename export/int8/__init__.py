"""From a Keras model to int8: the graph for inference only (`deploy`), its ranges and weights (`calibrate`), the flatbuffer
(`convert`, read again by `flatbuffer`), and where int8 costs accuracy (`layers`).
"""
