"""What the box reports about itself: health messages, metrics for Prometheus, the watchdog, and how earlier runs
ended. It may import host, imaging, records, errors and notice.
"""
