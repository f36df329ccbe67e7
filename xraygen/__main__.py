"""python -m xraygen = the command xraygen."""

from xraygen.cli import main

main()
