"""C-NMC on disk: which images there are, whether the copy is whole, who trains and who tests, and the cache
of crops. It may import edge.
"""
