"""`leukoscope classify`: cells and fields from files, as lines, a table, a page and heat maps.

It may import settings, model, cameras, imaging, host, errors and notice.
"""
