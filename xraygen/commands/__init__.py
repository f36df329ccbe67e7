"""The commands of `xraygen`, which cli.py puts together."""
