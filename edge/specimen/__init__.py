"""A specimen: what was counted on one slide, how sure the count is, and its report.

It may import host, records, errors and notice.
"""
