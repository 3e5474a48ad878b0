"""MQTT: `connection` keeps a connection to the broker (one `attempt` after the other, each with a `client`),
`publisher` sends what the outbox holds (records by `delivery`, the box's state by `announcements`), `commands` does
what arrives; besides these credentials, the broker's limits, faults in words, and local brokers. It may import host,
records, errors and notice; it knows nothing of cameras, model or outbox.
"""
