"""C-NMC data, the method, models and their evaluation. Needs TensorFlow: pip install 'leukoscope[train]'."""
