"""Commands over MQTT: what they may hold (`requests`), and how they are taken, done and answered (`remote`). It may import
what `edge.mqtt` may.
"""
