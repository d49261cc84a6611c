"""python -m fastnat."""

from fastnat.cli import main

if __name__ == "__main__":
    main()
