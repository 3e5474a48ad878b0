"""Foundations: the machine, its clock, the log, durable files, typed settings files, child processes, secrets, the
terminal. It may import errors only.
"""
