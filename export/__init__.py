"""From a trained run to the one model file that the box reads. Needs TensorFlow."""
