"""A TOML file that a person wrote: the line of each key, and what is wrong with it in words. It may import host
and errors.
"""
