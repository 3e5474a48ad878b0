"""Where results are stored: the tables of a database, CSV and JSON lines, behind one protocol.

It may import host, records and errors.
"""
