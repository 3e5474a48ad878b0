"""Evaluation: predictions, metrics with intervals, cross-validation, ensembles, and the report. It may
import train.fit, train.data and edge.
"""
