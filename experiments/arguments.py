"""The command line of a study: what it misspells is named before anything runs."""

from __future__ import annotations

import sys

from absl import app

from fusion_jax import study, zoo


def parse(argv: list[str], default: str = "") -> list[str]:
    """absl's parser, after a look at the study file and the `--config.key` arguments; an error ends the program.

    Args:
        default: the study file where no `--config` is given.
    """
    if default and not any(a.lstrip("-").partition("=")[0] == "config" for a in argv):
        argv = [argv[0], f"--config={default}", *argv[1:]]
    try:
        check(argv)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    return app.parse_flags_with_usage(argv)


def check(argv: list[str]) -> None:
    """Raises where `--config=FILE[:argument]` cannot be loaded or a `--config.key` is not in it.

    Raises:
        FileNotFoundError, ValueError: names the file, argument or key, and the nearest.
    """
    given = [a.lstrip("-") for a in argv]
    path = next((a.partition("=")[2] for a in given if a.startswith("config=")), "")
    if "config" in given[:-1]:
        path = given[given.index("config") + 1]
    if not path:
        return
    file, colon, argument = path.partition(":")
    module = study.load(file)
    config = study.flatten((module.get_config(argument) if colon else module.get_config()).to_dict())
    groups = {key.rsplit(".", depth)[0] for key in config for depth in range(1, key.count(".") + 1)}
    for key in (a.removeprefix("config.").partition("=")[0] for a in given if a.startswith("config.")):
        if key not in config and key not in groups:
            options = "" if ".options." not in key else (
                "; options can be set where the study names them, as configs/base.py:fusion=NAME does")  # fmt: skip
            raise ValueError(f"no config key {key!r}{zoo.nearest(key, config)}{options}")
