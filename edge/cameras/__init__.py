"""Camera back-ends, one a file, behind one small protocol."""
