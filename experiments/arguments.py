"""The command line of every command: what it misspells is named before anything runs, in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from fusion_jax import study, terminal, zoo

FLAGS = flags.FLAGS


class _StudyFile(flags.ArgumentParser):
    """`FILE[:argument]` as `study.split` reads it; ml_collections ends the file at the first colon."""

    def parse(self, path: str) -> ConfigDict:
        config = _config(path)
        config.lock()
        return config

    def flag_type(self) -> str:
        return "config object"


def define_study(help: str) -> None:
    """The flag --config=FILE[:argument], with --config.key=value for each of its keys."""
    config_flags.DEFINE_config_file("config", None, help, lock_config=True)
    FLAGS["config"].parser = _StudyFile()
    flags.mark_flag_as_required("config")


def run(main: Callable[[list[str]], None], *, default: str = "") -> None:
    """Parses the command line and runs `main(argv)`.

    Args:
        default: the study file where no `--config` is given.
    """
    terminal.prepare()
    app.run(main, flags_parser=lambda argv: parse(argv, default))


def parse(argv: list[str], default: str = "") -> list[str]:
    """absl's parser, after a look at the study file and the `--config.key` arguments; an error ends the program."""
    if default and not any(a.lstrip("-").partition("=")[0] == "config" for a in argv):
        argv = [argv[0], f"--config={default}", *argv[1:]]
    try:
        check(argv)
        rest = FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}")
    except (ValueError, OSError, flags.Error) as error:
        fail(error)
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    return rest


def fail(error: Exception, status: int = 2) -> NoReturn:
    """Ends the program with the error in one line on standard error."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(status)


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
    config = study.flatten(_config(path).to_dict())
    groups = {key.rsplit(".", depth)[0] for key in config for depth in range(1, key.count(".") + 1)}
    for key in (a.removeprefix("config.").partition("=")[0] for a in given if a.startswith("config.")):
        if key not in config and key not in groups:
            options = (
                ""
                if ".options." not in key
                else ("; options can be set where the study names them, as configs/base.py:fusion=NAME does")
            )
            raise ValueError(f"no config key {key!r}{zoo.nearest(key, config)}{options}")


def _config(path: str) -> ConfigDict:
    file, argument = study.split(path)
    module = study.load(file)
    with study.mistakes_in(file):
        return module.get_config() if argument is None else module.get_config(argument)
