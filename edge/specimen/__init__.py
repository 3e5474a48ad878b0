"""A specimen: what was counted on one slide, how sure the count is, and its report.

It may import host, records, logger, model, errors and notice.
"""
