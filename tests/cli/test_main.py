# SPDX-License-Identifier: Apache-2.0
"""The console script around the commands."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pytest

from farm import cli
from farm.core.errors import ExitCode


class _CtrlC:
    """Ctrl-C while a module is imported."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name == "farm.cli.app":
            raise KeyboardInterrupt
        return None


def test_ctrl_c_before_a_command_has_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "farm.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_CtrlC(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "farm: interrupted\n"
