"""`python -m grandpa_kfp_runtime`: what a container runs."""

import sys

from .launch.launcher import main
from .launch.process import end_process

if __name__ == "__main__":  # a process that multiprocessing spawns imports this file, too
    end_process(main(sys.argv[1:]))
