"""`python -m grandpa_kfp`: the command line, for whoever has an interpreter and no PATH, as editors do."""

from grandpa_kfp.cli import main

if __name__ == "__main__":
    main()
