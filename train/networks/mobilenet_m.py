"""MobileNet_M, the paper's own network; it stands in `train.fit.model`, whose optimizer knows its blocks."""

from train.fit.model import mobilenet_m as build

__all__ = ["build"]
