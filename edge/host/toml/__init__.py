"""TOML files written by people: the line of each key, and faults explained in words. It may import host
and errors.
"""
