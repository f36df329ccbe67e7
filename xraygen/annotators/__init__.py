"""Competing ways to annotate a case: router, vlm, llm, recorded, constant, cascade, and classes of
your own. base.py says what an annotator is."""
