"""Lists the data sets: present or how to get them, licence, checksum; with --folder=DIR checks a folder of tables."""

import sys

from fusion_jax.data.__main__ import main

if __name__ == "__main__":
    main(sys.argv[1:])
