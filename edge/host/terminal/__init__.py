"""What stands on a terminal beside the results: notes and errors, a progress bar, no noise of libraries. It may
import host and errors.
"""
