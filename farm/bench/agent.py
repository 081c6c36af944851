# SPDX-License-Identifier: Apache-2.0
"""`python -m farm.bench.agent`: a bench host's one process, and the ways to it. Pure.

    start SETTINGS            run the agent in the background; returns when clients can come
    serve SETTINGS            run it here, until SIGTERM or SIGINT
    connect SOCKET            join standard input and output to the agent's socket
    mux SOCKET TARGET host|board      give a target's card to the host or the board; the secret
                                      of the target's lease is a line on standard input

`connect` is what a client runs on the host through SSH; it and `mux` load nothing heavy.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from farm.core.errors import ExitCode, FarmError

_SECRET_LIMIT = 200


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code."""
    parser = argparse.ArgumentParser(prog="farm-agent", description="a bench host's agent")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("start", "serve"):
        verbs.add_parser(verb).add_argument("settings", type=Path)
    verbs.add_parser("connect").add_argument("socket", type=Path)
    mux = verbs.add_parser("mux")
    mux.add_argument("socket", type=Path)
    mux.add_argument("target")
    mux.add_argument("to", choices=("host", "board"))
    wanted = parser.parse_args(argv)
    try:
        return _do(wanted)
    except FarmError as error:
        print(f"farm-agent: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _do(wanted: argparse.Namespace) -> int:
    match wanted.verb:
        case "connect":
            from farm.bench.connect import connect

            return connect(wanted.socket)
        case "mux":
            from farm.bench.connect import switch_card

            secret = sys.stdin.readline(_SECRET_LIMIT).strip()
            switch_card(wanted.socket, wanted.target, wanted.to, secret)
        case "start":
            from farm.bench.daemon import start

            start(wanted.settings)
        case "serve":
            from farm.bench.daemon import serve

            serve(wanted.settings, ready=lambda: print("ready", flush=True))
    return ExitCode.OK


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A thread that waits on standard input must not hold the process.
    os._exit(code)
