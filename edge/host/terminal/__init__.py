"""Terminal output besides the results: notes and errors, a progress bar, library messages suppressed. It may
import host and errors.
"""
