"""The paper's rivals beside its own network, one file each, named by `train --network`.

Each module's `build(recipe, weights)` gives a model from (N, size, size, 3) to the probabilities of ALL and HEM;
`network(…, classes)` is the same for any number of classes, to be held against the published parameter count.
Imports the recipe and layers of `train.fit`, which finds these modules by their names.
"""
