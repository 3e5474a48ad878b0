"""The daemon: it joins camera, pipeline, outbox and publisher and watches over them. It may import every
package of edge but cli, demo, bench, doctor, logger and web.
"""
