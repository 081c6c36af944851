# SPDX-License-Identifier: Apache-2.0
"""Writing an image to a card on a bench host: the orchestrator's side.

Sends the helper over the system's OpenSSH, then the table of the image's blocks, and of the
blocks only those that the helper asks for. Four kinds of threads: this one decides, one reads
frames, one writes them (and the heartbeat), two compress. All of them have ended when `flash`
returns or raises.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.core.errors import BenchError, ExitCode, FarmError, UserError
from farm.core.progress import Reporter, Task
from farm.core.run import Process
from farm.core.ssh import SshConnection
from farm.flash import wire
from farm.flash.blocks import ImageBlocks
from farm.flash.codec import compress
from farm.flash.rate import Rate
from farm.flash.sending import HELPER_COMMAND, helper_source

_WORKERS = 2
_IN_FLIGHT = 4
_SILENT_S = 30.0
_LEAVE_S = 3.0
_NOISE_LIMIT = 64 << 10
_STDERR_LIMIT = 64 << 10
_EVENTS_LIMIT = 1000


class FlashCancelledError(FarmError):
    """Somebody stopped a flash; the message says what state the card is in."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class FlashReport:
    """What a finished flash did.

    Args:
        sent_bytes: written to the data connection: helper, table and compressed blocks.
        written_blocks: blocks of 64 KiB that differed and were written.
        same_blocks: blocks that the card had already.
        verified_blocks: blocks read from the card itself and found right: all of them.
        seconds: of wall time.
        repaired: whether the card held an unfinished flash.
    """

    sent_bytes: int
    written_blocks: int
    same_blocks: int
    verified_blocks: int
    seconds: float
    repaired: bool


def flash(
    connection: SshConnection,
    device: str,
    image: Path,
    blocks: ImageBlocks,
    *,
    reporter: Reporter,
    cancelled: Callable[[], bool],
) -> FlashReport:
    """Make a card hold an image: write what differs, prove all of it.

    Blocking. A card whose first sector boots holds one whole image at any moment; one that was
    not written to its end does not boot and says so in its first sector, and the next flash
    repairs it.

    Args:
        connection: the bench host that has the card.
        device: absolute path there, of a block device or a plain file of the card's size.
        image: what `blocks` were read from.
        blocks: as `farm.flash.blocks.image_blocks` returns them.
        reporter: is told how far it is, the rate and the time left.
        cancelled: asked several times a second whether to stop.

    Raises:
        BenchError: SSH fails or is cut, the card must not be written, is too small or fails.
        UserError: the image is not what `blocks` were read from.
        FlashCancelledError: `cancelled` said so; no process is left on the host.
    """
    if len(blocks.mapped) != len(blocks.digests) or blocks.mapped[:1] != (0,):
        raise ValueError("blocks without the first one, or without digests")
    with reporter.task(f"flash {device} on {connection.endpoint.name}") as task:
        run = _Flash(connection, device, image, blocks, reporter, task)
        return run.run(cancelled)


class _Flash:
    def __init__(
        self,
        connection: SshConnection,
        device: str,
        image: Path,
        blocks: ImageBlocks,
        reporter: Reporter,
        task: Task,
    ) -> None:
        self._connection = connection
        self._device = device
        self._blocks = blocks
        self._reporter = reporter
        self._task = task
        self._image = image
        # (kind, value): what the other threads have to say to this one.
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._leaving = threading.Event()
        self._stderr = bytearray()
        self._noise = b""
        self._digests = dict(zip(blocks.mapped, blocks.digests, strict=True))
        self._wanted: deque[int] = deque()
        self._asked: set[int] = set()
        self._in_flight = 0
        self._scan_done = False
        self._finished = False
        self._marked = False
        self._begun = False
        self._sent = 0
        self._zstd = False
        self._result: dict[str, Any] | None = None
        self._rate = Rate()

    def run(self, cancelled: Callable[[], bool]) -> FlashReport:
        began = time.monotonic()
        try:
            fd = os.open(self._image, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{self._image}: cannot be read: {error.strerror}") from error
        try:
            process = self._connection.data(HELPER_COMMAND)
            threads = self._start(process)
            try:
                with ThreadPoolExecutor(_WORKERS, thread_name_prefix="flash zip") as pool:
                    self._say_hello()
                    self._loop(fd, pool, cancelled)
            finally:
                self._leave(process, threads)
        finally:
            os.close(fd)
        result = self._outcome(process)
        return FlashReport(
            sent_bytes=self._sent,
            written_blocks=int(result["written"]),
            same_blocks=int(result["same"]),
            verified_blocks=int(result["verified"]),
            seconds=time.monotonic() - began,
            repaired=bool(result["repaired"]),
        )

    # -- deciding

    def _say_hello(self) -> None:
        header = {
            "version": wire.VERSION,
            "device": self._device,
            "image": self._blocks.name,
            "size_bytes": self._blocks.size_bytes,
            "block_bytes": wire.BLOCK_BYTES,
        }
        self._outgoing.put(helper_source())
        self._outgoing.put(wire.encode(wire.HEADER, json.dumps(header).encode()))
        for frame in wire.encode_table(self._blocks.mapped, self._blocks.digests):
            self._outgoing.put(frame)

    def _loop(self, fd: int, pool: ThreadPoolExecutor, cancelled: Callable[[], bool]) -> None:
        heard = time.monotonic()
        while True:
            if cancelled():
                raise self._cancelled()
            try:
                kind, value = self._events.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() - heard > _SILENT_S:
                    raise self._error(
                        f"nothing came from the bench host for {_SILENT_S:.0f} s"
                    ) from None
                continue
            if kind == "frame":
                heard = time.monotonic()
                if not self._take(*value):
                    return
            elif kind == "frames":
                self._in_flight += len(value) - 1
                for frame in value:
                    self._outgoing.put(frame)
            elif kind == "sent":
                self._sent += value[1]
                self._in_flight -= value[0] == wire.DATA
            elif kind == "broken":
                raise value
            else:
                return  # the end of what the helper says
            self._feed(fd, pool)

    def _feed(self, fd: int, pool: ThreadPoolExecutor) -> None:
        """Send what was asked for, as far as the connection keeps up."""
        size = wire.BATCH_BLOCKS if self._zstd else wire.BATCH_BLOCKS // 4
        while self._wanted and self._in_flight < _IN_FLIGHT:
            if len(self._wanted) < size and not self._scan_done and self._in_flight:
                return  # a fuller batch is on its way
            batch = [self._wanted.popleft() for _ in range(min(size, len(self._wanted)))]
            self._in_flight += 1
            pool.submit(self._compress, fd, batch)

    def _take(self, kind: bytes, payload: bytes) -> bool:
        """Take a frame; return whether more are expected."""
        if kind == wire.PROGRESS:
            self._show(wire.decode_progress(payload))
        elif kind == wire.NEEDED:
            self._marked = True
            for index in wire.decode_indexes(payload):
                if index not in self._digests or index in self._asked:
                    raise self._error(f"the helper asked for block {index}, which it has not to")
                self._asked.add(index)
                self._wanted.append(index)
        elif kind == wire.SCANNED:
            self._scan_done = True
        elif kind == wire.PROVEN:
            self._finished = True
            self._outgoing.put(wire.encode(wire.FINISH))
        elif kind == wire.INFO:
            self._begun = True
            self._take_info(_json(payload))
        elif kind == wire.RESULT:
            self._result = _json(payload)
            return False
        elif kind == wire.FAILURE:
            raise self._failure(_json(payload))
        else:
            raise self._error(f"a frame {kind!r} from the helper")
        return True

    def _take_info(self, info: dict[str, Any]) -> None:
        self._zstd = "zstd" in info.get("codecs", ())
        if info.get("unfinished") is not None:
            self._marked = True
            self._reporter.note(
                f"{self._device}: holds an unfinished flash (of image {info['unfinished']}); "
                "it is written anew"
            )

    def _show(self, progress: wire.Progress) -> None:
        total = len(self._blocks.mapped)
        done = progress.scanned - progress.differing + progress.verified
        self._rate.add(done * wire.BLOCK_BYTES)
        note = self._rate.note((total - done) * wire.BLOCK_BYTES)
        if progress.differing:
            note += f", {progress.differing} of {progress.scanned} blocks differ"
        self._task.update(done * wire.BLOCK_BYTES, total * wire.BLOCK_BYTES, note)

    # -- other threads

    def _start(self, process: Process) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=target, args=(process,), name=f"flash {name}", daemon=True)
            for name, target in (
                ("reader", self._read),
                ("writer", self._write),
                ("stderr", self._keep_stderr),
            )
        ]
        for thread in threads:
            thread.start()
        return threads

    def _compress(self, fd: int, batch: list[int]) -> None:
        try:
            pieces = []
            for index in batch:
                length = wire.block_length(index, self._blocks.size_bytes)
                piece = os.pread(fd, length, index * wire.BLOCK_BYTES)
                if wire.digest(piece) != self._digests[index]:
                    raise UserError(
                        f"{self._image}: changed while it was being flashed "
                        f"(byte {index * wire.BLOCK_BYTES})",
                        hint=self._state_hint(),
                    )
                pieces.append(piece)
            frames = [wire.encode_data(data) for data in compress(batch, pieces, zstd=self._zstd)]
            self._events.put(("frames", frames))
        except Exception as error:
            self._events.put(("broken", error))

    def _write(self, process: Process) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it ended: the reader tells why
            while not self._leaving.is_set():
                try:
                    frame = self._outgoing.get(timeout=wire.HEARTBEAT_S)
                except queue.Empty:
                    frame = wire.encode(wire.PING)
                if frame is None:
                    break
                view = memoryview(frame)
                while view and not self._leaving.is_set():
                    view = view[os.write(process.stdin.fileno(), view[:65536]) :]
                self._events.put(("sent", (frame[:1], len(frame))))
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _read(self, process: Process) -> None:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        buffer = b""
        try:
            while wire.MAGIC not in buffer:
                part = os.read(fd, 65536)
                if not part or len(buffer) > _NOISE_LIMIT:
                    self._noise = buffer
                    return
                buffer += part
            self._noise, _, buffer = buffer.partition(wire.MAGIC)

            def read(size: int) -> bytes:
                nonlocal buffer
                part = buffer or os.read(fd, 65536)
                buffer = part[size:]
                return part[:size]

            while frame := wire.read_frame(read):
                self._events.put(("frame", frame))
                while self._events.qsize() > _EVENTS_LIMIT and not self._leaving.wait(0.01):
                    pass
        except (OSError, wire.WireError):
            pass  # cut: told by the exit code of ssh
        finally:
            self._events.put(("end", None))

    def _keep_stderr(self, process: Process) -> None:
        assert process.stderr is not None
        while part := os.read(process.stderr.fileno(), 4096):
            self._stderr += part
            del self._stderr[:-_STDERR_LIMIT]

    def _leave(self, process: Process, threads: list[threading.Thread]) -> None:
        """End ssh and all threads: first by closing its input, which ends the helper."""
        self._leaving.set()
        self._outgoing.put(None)
        try:
            process.wait(_LEAVE_S)
        except BaseException:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    # -- telling

    def _outcome(self, process: Process) -> dict[str, Any]:
        if self._result is not None:
            for name in ("written", "same", "verified"):
                if not isinstance(self._result.get(name), int):
                    raise self._error("the helper's result is damaged")
            if self._result["verified"] != len(self._blocks.mapped):
                raise self._error("the helper did not verify every block")
            return self._result
        raise self._ended(process.returncode)

    def _ended(self, code: int) -> BenchError:
        """The helper ended without a result or a failure."""
        text = bytes(self._stderr)
        if not self._begun and code == 127:
            return BenchError(
                f"{self._connection.endpoint}: flash: no /usr/bin/python3 there",
                hint="on the bench host: sudo apt-get install python3-minimal",
            )
        if code == 255:
            error = self._connection.data_error(f"flash {self._device}", text)
            if not self._begun:
                return error
            return self._error("connection cut, or the helper was killed")
        lines = (text or self._noise).decode(errors="replace").strip().splitlines()[-4:]
        return self._error(
            f"the helper ended with exit code {code}" + "".join(f"\n    {line}" for line in lines)
        )

    def _failure(self, values: dict[str, Any]) -> BenchError:
        self._marked = self._marked or bool(values.get("marked"))
        message = str(values.get("message"))
        if values.get("kind") == "refused":
            return BenchError(
                f"{self._connection.endpoint}: {self._device} is not written: {message}",
                hint="nothing was changed; check the target's storage in the bench file",
            )
        if values.get("kind") == "card":
            return BenchError(
                f"{self._connection.endpoint}: {self._device}: the card failed: {message}"
                f"; {self._state()}",
                hint="flash it again; if that fails too, use another card or reader",
            )
        return self._error(f"the helper stopped: {message}")

    def _error(self, what: str) -> BenchError:
        return BenchError(
            f"{self._connection.endpoint}: flash {self._device}: {what}; {self._state()}",
            hint=self._state_hint(),
        )

    def _cancelled(self) -> FlashCancelledError:
        return FlashCancelledError(
            f"flash {self._device} on {self._connection.endpoint.name} was stopped; "
            f"{self._state()}",
            hint=self._state_hint(),
        )

    def _state(self) -> str:
        if self._finished:
            return "the card is either whole or marked as unfinished"
        if self._marked:
            return "the card is marked as unfinished and does not boot"
        if self._begun:
            return "the card is unchanged, or marked as unfinished"
        return "the card is unchanged"

    def _state_hint(self) -> str:
        return "flash it again: only what is missing is sent"


def _json(payload: bytes) -> dict[str, Any]:
    try:
        values = json.loads(payload)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
