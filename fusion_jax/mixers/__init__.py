"""Token mixers: what stands in the place of softmax attention in a mechanism. A file each; `base` is the contract."""
