"""One thread while anybody asks for it, and as before behind the last that does."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from fusion_jax.one_thread import one_thread


def threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_until_the_last_has_left():
    with threadpool_limits(3, "blas"):
        before = threads()
        first, second = one_thread(), one_thread()
        first.__enter__()
        assert threads() == {1}
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}, "another is inside"
        second.__exit__(None, None, None)
        assert threads() == before


def test_a_failure_leaves_it_as_it_was():
    with threadpool_limits(3, "blas"):
        before = threads()
        try:
            with one_thread():
                raise ValueError
        except ValueError:
            pass
        assert threads() == before
