"""Signatures of model files: Ed25519 over all that a file holds, made by a maker or a laboratory."""

MEMBER = "signature"
