"""python -m fastnat."""

from fastnat.cli import main

main()
