"""Annotators, one a module. `xraygen.annotators.load` gives the one of an approach."""
