"""Competing ways to annotate a case: router, vlm, llm, recorded, constant, and classes of the
user's. See base.py for what an annotator is."""
