from fastnat.cli import main

main()
