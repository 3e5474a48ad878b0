"""Brokers on this machine for the demo, the benchmark and tests: Mosquitto if it is installed, else an embedded one.

It may import host, mqtt and errors.
"""
