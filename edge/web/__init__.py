"""The technician's page: a process of its own that reads the results database and the picture archive, follows the
box over MQTT and sends it commands. It can fail without the daemon noticing.

It may import host, imaging, records, mqtt, model, outbox (settings), logger, specimen, settings, errors, notice.
"""
