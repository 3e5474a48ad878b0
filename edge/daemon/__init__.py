"""The daemon: it connects camera, pipeline, outbox and publisher, and supervises them. It may import every
package of edge but cli, demo, bench, doctor, logger and web.
"""
