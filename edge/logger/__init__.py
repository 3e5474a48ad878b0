"""Where the results of a fleet are kept: the tables, files and questions of `leukoscope log` and `results`."""
