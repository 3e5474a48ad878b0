"""Runs side by side on the same cells: figures, paired differences, plots and one page. Imports `data`, `fit`, `evaluate`.

What a network costs in int8 is the export's to say; `export.compare` is the command and hands it in.
"""
