"""A laboratory's own model: reviewed cells in, a last layer out that was fitted to them and shown to be better. It may
import the ground, `host`, `imaging`, `records`, `model`, `specimen` and `logger`; scikit-learn is loaded for a fit alone.
"""
