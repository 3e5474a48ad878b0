"""What the box reports about itself: health report, Prometheus metrics, the watchdog, and how earlier runs
ended. It may import host, imaging, records, errors and notice.
"""
