"""What a laboratory keeps and what it erases: backups of a box, their restoring, specimens that have to go.

It may import settings, logger, outbox, model, mqtt, specimen, host, records, errors and notice.
"""
