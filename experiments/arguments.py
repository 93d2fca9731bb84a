"""The command line of every command: what it misspells is named before anything runs, in one line."""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from absl import app, flags, logging
from etils import epath
from ml_collections import ConfigDict, config_flags

from fusion_jax import study, terminal, zoo
from fusion_jax.results import answers
from fusion_jax.results.answers import Report
from fusion_jax.study import ranges

FLAGS = flags.FLAGS


class _StudyFile(flags.ArgumentParser):
    """`FILE[:argument]` as `study.split` reads it; ml_collections ends the file at the first colon.

    Options of the mechanisms and of the data set are taken from the command line here: the config's file need not name
    those that it leaves as they are, and ml_collections sets only keys that are there.
    """

    options: dict[str, str] = {}
    left: list[str] = []  # the other arguments, which are ml_collections' own
    keys: tuple[str, ...] = ()  # all that the command line sets

    def parse(self, path: str) -> ConfigDict:
        config = _config(path)
        config.lock()
        for key, text in self.options.items():
            study.set_key(config, key, _value(text))
        return config

    def flag_type(self) -> str:
        return "config object"


def define_study(help: str) -> None:
    """The flag --config=FILE[:argument], with --config.key=value for each of its keys."""
    config_flags.DEFINE_config_file("config", None, help, lock_config=True, sys_argv=_StudyFile.left)
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
        argv = check(argv)
        _StudyFile.left[:] = argv
        rest = FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}")
    except (ValueError, OSError, flags.Error) as error:
        fail(error)
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    return rest


def warn(text: str) -> None:
    """Says in one line on standard error what may not be meant."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr)


def named(default: str) -> list[str]:
    """What the command line says of the config: its file, unless it is the default one, and the keys it sets."""
    file = str(FLAGS["config"].config_filename)
    return [f"--config={file}"] * (file != default) + [f"--config.{key}" for key in _StudyFile.keys]


def set_in_vain(by_all: Iterable[str]) -> list[str]:
    """The `--config.key` of the command line that do nothing, since every cell sets them itself."""
    by_all = set(by_all)
    parents = {key: {key.rsplit(".", n)[0] for n in range(key.count(".") + 1)} for key in _StudyFile.keys}
    return [f"--config.{key}" for key, own in parents.items() if own & by_all]


def show_conversion(data: Any) -> None:
    """Prints what became of the user's own tables, where a data set was made from some."""
    if data.conversion is not None:
        print(data.conversion.text(), file=sys.stderr, flush=True)


def fail(error: Exception, status: int = 2, *, lines: bool = False) -> NoReturn:
    """Ends the program with the error on standard error: in one line, or (a list of cells) in those that it has."""
    text = str(error) if lines else " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr)
    sys.exit(status)


def show(report: Report, folder: epath.Path, as_json: bool) -> None:
    """Prints a report, and which files it was written to; or what a program may read of it."""
    if as_json:
        print(json.dumps(answers.as_json(report), indent=1))
        return
    print(answers.markdown(report, answers.SHOWN))
    print(f"written: {os.fspath(folder)}/{', '.join(sorted(path.name for path in folder.iterdir()))}")


def check(argv: list[str]) -> list[str]:
    """The arguments without those that set options, which are kept for the study's config.

    Raises:
        FileNotFoundError, ValueError: `--config=FILE[:argument]` cannot be loaded, or a `--config.key` is not in it;
            names the file, argument or key, and the nearest.
    """
    given = [a.lstrip("-") for a in argv]
    path = next((a.partition("=")[2] for a in given if a.startswith("config=")), "")
    if "config" in given[:-1]:
        path = given[given.index("config") + 1]
    _StudyFile.options = {}
    _StudyFile.keys = tuple(a.partition("=")[0].removeprefix("config.") for a in given if a.startswith("config."))
    if not path:
        return argv
    config = study.flatten(_config(path).to_dict())
    groups = {key.rsplit(".", depth)[0] for key in config for depth in range(1, key.count(".") + 1)}
    kept = []
    for argument, text in zip(argv, given, strict=True):
        key, is_set, value = text.removeprefix("config.").partition("=")
        inside = is_set and any(part in study.OPEN for part in key.split(".")[:-1])
        dotted = inside and key.rpartition(".")[0].rpartition(".")[2] not in study.OPEN  # ml_collections would split it
        if not text.startswith("config.") or (key in config or key in groups) and not dotted:
            kept.append(argument)
        elif inside:
            _StudyFile.options[key] = value  # whether the mechanism has it is said when the cell is resolved
        else:
            raise ValueError(study.unknown(key, config))
    return kept


def options(kind: str, name: str, given: Iterable[str]) -> dict[str, Any]:
    """{option: value} of texts "option=value", as a mechanism's options are checked in a study.

    A text is a value where the default is one; a list may be written without brackets, "a,b".

    Raises:
        ValueError: no "=", no such option (names the nearest), or a value that the option cannot have.
    """
    texts = dict(_assignment(text) for text in given)
    zoo.check_options(kind, name, texts)
    return {k: _option(text, zoo.options(kind, name)[k], f"{zoo.short(name)}.{k}") for k, text in texts.items()}


def engine_options(engine: str, given: Iterable[str]) -> dict[str, Any]:
    """{option: value} of texts "option=value", for an engine.

    Raises:
        ValueError: no "=", no such engine, or no such option of it; names the nearest.
    """
    taken = inspect.signature(zoo.get("engine", engine)).parameters
    own = [name for name, one in taken.items() if one.kind is one.KEYWORD_ONLY and name != "workers"]
    found = {name: _value(text) for name, text in (_assignment(one, "engine_option") for one in given)}
    if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        for name in found:
            if name not in own:
                raise ValueError(
                    f"--engine_option={name}: engine {engine!r} has no such option{zoo.nearest(name, own)}; "
                    f"it has: {', '.join(own) or 'none'}"
                )
    return found


def space(given: Iterable[str]) -> dict[str, tuple]:
    """{key: values} of texts "key=value,value,..." or "key=low,high,log", the space of a tuning.

    Raises:
        ValueError: no "=".
    """
    found = {}
    for text in given:
        key, is_set, values = text.partition("=")
        if not is_set:
            raise ValueError(f"--space={text}: expected KEY=VALUE,VALUE,... or KEY=LOW,HIGH,log")
        found[key] = tuple(_value(value) for value in values.split(","))
    return found


def _assignment(text: str, flag: str = "option") -> tuple[str, str]:
    option, is_set, value = text.partition("=")
    if not is_set:
        raise ValueError(f"--{flag}={text}: expected NAME=VALUE")
    return option, value


def _option(text: str, default: Any, key: str) -> Any:
    if isinstance(default, str):
        return text
    value = _value(text)
    if isinstance(default, tuple) and not isinstance(value, list | tuple):
        words = bool(default) and all(isinstance(d, str) for d in default)
        value = [part if words else _value(part) for part in text.split(",")]
    return ranges.option(tuple(value) if isinstance(value, list) else value, default, key)


def _value(text: str) -> object:
    """A number, list or truth value as Python writes it; any other text as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _config(path: str) -> ConfigDict:
    file, argument = study.split(path)
    module = study.load(file)
    with study.mistakes_in(file):
        config = module.get_config() if argument is None else module.get_config(argument)
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{file}: get_config returned {config!r}, expected the config of study.defaults, changed")
    return config
