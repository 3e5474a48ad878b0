"""A laboratory's own model: reviewed cells in, a last layer out that was fitted to them and shown to be better; and the
commands that put it to work. It may import the ground, `host`, `imaging`, `records`, `model`, `specimen`, `logger`,
`settings` and `doctor`; scikit-learn is loaded for a fit alone.
"""
