"""Annotators, one a module. `xraygen.annotate` gives the one of an approach."""
