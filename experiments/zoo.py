"""Lists the mechanisms, with what each is pinned to and its options."""

import sys

from fusion_jax.zoo import main

if __name__ == "__main__":
    main(sys.argv[1:])
