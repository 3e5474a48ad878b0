"""Whole fields: the lamp, the ruler, the cells that a finder sees, their cut-outs, and where a field lies beside others.
It may import host, errors and the pixels of imaging.
"""
