"""Everything about MQTT: the connection that is kept up, the publisher that empties the outbox, commands
that arrive, credentials, faults in words, local brokers. It may import host, records, errors and notice;
it knows nothing of cameras, model or outbox.
"""
