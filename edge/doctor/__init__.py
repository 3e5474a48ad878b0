"""`leukoscope doctor`: checks of camera, model, broker, clock, disk and temperature, and the support
bundle. It may import every package of edge that the daemon may, and nothing that imports it but cli.
"""
