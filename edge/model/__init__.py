"""The model file, the classifier that runs it, and the explanation of a verdict. It may import host,
imaging, errors and notice.
"""
