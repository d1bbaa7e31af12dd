"""Has Copier do once what it would do alike for each of hundreds of projects."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import plumbum
import pytest
import yaml


@contextmanager
def copier_cache() -> Iterator[None]:
    """Replace what Copier calls for each project, and for each file.

    Jinja compiles a text once, and copier.yml is parsed once; each rendered file asks git whether it sees the modes of
    files, which its config alone decides; and git looks for submodules only where there are some.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compiling_once())
        patch.setattr(yaml, "load_all", loading_once())
        patch.setattr(plumbum.commands.BaseCommand, "__call__", calling_once())
        yield


def compiling_once() -> Any:
    compile_text = jinja2.Environment.compile
    compiled = dict[Any, Any]()

    def compile_once(
        self: jinja2.Environment, source: Any, name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        key = source, name, self.keep_trailing_newline, self.trim_blocks, self.lstrip_blocks
        if key not in compiled:
            compiled[key] = compile_text(self, source, name, *args, **kwargs)
        return compiled[key]

    return compile_once


def loading_once() -> Any:
    load_all = yaml.load_all
    loaded = dict[Any, Any]()

    def load_once(stream: Any, Loader: Any) -> Any:
        text = stream.read() if hasattr(stream, "read") else stream
        if text not in loaded:
            loaded[text] = list(load_all(text, Loader))
        return copy.deepcopy(loaded[text])

    return load_once


def calling_once() -> Any:
    call = plumbum.commands.BaseCommand.__call__
    modes = dict[Any, Any]()

    def call_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args[:2] == ("submodule", "update") and not (plumbum.local.cwd / ".gitmodules").exists():
            return ""
        if args != ("config", "--type=bool", "--get", "core.fileMode"):
            return call(self, *args, **kwargs)
        config = Path(self.cwd) / ".git" / "config"
        key = config.read_text() if config.exists() else None
        if key not in modes:
            try:
                modes[key] = call(self, *args, **kwargs)
            except plumbum.ProcessExecutionError as error:
                modes[key] = error
        if isinstance(modes[key], Exception):
            raise modes[key]
        return modes[key]

    return call_once
