"""Camera back-ends, one per file, behind the protocol of edge.cameras.base. The camera that runs in a child
process and the worker that it starts are here too. It may import cameras, imaging, host and errors.
"""
