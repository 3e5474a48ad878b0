"""C-NMC on disk: its images, whether the copy is complete, the splits, and the cache of crops. It may import edge."""
