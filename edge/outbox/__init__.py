"""The durable queue: records wait here until the broker has acknowledged them; its SQLite file, its
recovery, and the picture archive. It may import host, imaging, records and errors.
"""
