# SPDX-License-Identifier: Apache-2.0
"""The helper's own way to the bench host: its source, in front of the first frame.

What is sent is the source of the modules that the helper consists of, under the names that
they import each other by. So the bench host needs Debian's python3-minimal and nothing else.
"""

from __future__ import annotations

import functools
import json
import zlib
from importlib import resources

# In the order in which they may be executed: a module after those that it imports.
MODULES = ("refusal", "wire", "disks", "device", "helper")

# -I and -S: neither the account's environment nor its site-packages have a say.
_BOOTSTRAP = """
import json, sys, types, zlib
if sys.version_info < (3, 9):
    sys.exit("farm needs Python 3.9 or newer on the bench host")
source = sys.stdin.buffer
modules = json.loads(zlib.decompress(source.read(int(source.readline()))))
for name in ("farm", "farm.flash"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, text in modules:
    module = sys.modules["farm.flash." + name] = types.ModuleType("farm.flash." + name)
    setattr(sys.modules["farm.flash"], name, module)
    exec(compile(text, "farm/flash/" + name + ".py", "exec"), module.__dict__)
module.main(source)
"""

HELPER_COMMAND = ("/usr/bin/python3", "-I", "-S", "-c", _BOOTSTRAP.strip())


@functools.cache
def helper_source() -> bytes:
    """What the bootstrap reads from its standard input before the first frame."""
    folder = resources.files("farm.flash")
    modules = [(name, (folder / f"{name}.py").read_text("utf-8")) for name in MODULES]
    packed = zlib.compress(json.dumps(modules).encode(), 9)
    return f"{len(packed)}\n".encode() + packed
