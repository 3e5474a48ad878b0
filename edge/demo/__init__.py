"""`leukoscope demo`: broker, daemon and subscriber in one process tree. It may import logger, mqtt, model
and what they may import.
"""
