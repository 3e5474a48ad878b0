"""Camera back-ends, one per file, behind one small protocol."""
