"""The command line: the parser, how values on it are read, and what each command does. The roof: it may
import everything in edge; host commands (train, export) are named by text and loaded when called.
"""
