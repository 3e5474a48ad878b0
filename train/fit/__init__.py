"""Training: recipes, batches and augmentation, the network, the optimizer, run folders. It may import
train.data and edge.
"""
