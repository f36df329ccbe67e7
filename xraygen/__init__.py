"""Annotate chest X-ray studies by region in competing ways, judge each way, compare them. See
docs/architecture.md.
"""

__version__ = "0.1.0"
