# SPDX-License-Identifier: Apache-2.0
"""The program that writes a card, on the bench host; `farm.flash.client` sends it there.

Standard library only, Python 3.9. The order of things is what makes a flash a transaction:

1. check, open exclusively, lock;
2. read the image's blocks on the card and compare digests with the table;
3. at the first difference zero the first sector, put the unfinished mark into it, flush;
4. write what the client sends, flush in steps, read it back past the cache, compare;
5. when all the rest is proven: the rest of block 0, flushed and compared; when the client
   agrees, the first sector, flushed and compared.

So a card whose first sector boots holds one whole image. It ends by itself when the client
is silent for 10 s, and at once at the end of its input; the locks go with the process.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import mmap
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from farm.flash import wire
from farm.flash.device import RUN_BYTES, Card
from farm.flash.refusal import CardError, RefusedError

_SYNC_BLOCKS = 128
_STUCK_S = 60.0
_MAX_BLOCKS = 1 << 22  # 256 GiB


class Helper:
    """One flash, from the header to the result.

    Args:
        source: the client's frames.
        sink: where frames to the client go.
        leave: ends the process at once; called by other threads than the main one.
        open_card: opens the card at a path for so many bytes.
    """

    def __init__(
        self,
        source: BinaryIO,
        sink: BinaryIO,
        leave: Callable[[int], None],
        open_card: Callable[[str, int], Card] = Card,
    ) -> None:
        self._source = source
        self._sink = sink
        self._leave = leave
        self._open_card = open_card
        self._sink_lock = threading.Lock()
        self._heard = time.monotonic()
        self._full = False
        # What other threads hand to the main one; bytes are a frame's kind, for what it means.
        self._work: queue.Queue[wire.Data | bytes | Exception] = queue.Queue(4)
        self._indexes: list[int] = []
        self._digests: list[bytes] = []
        self._needed: set[int] = set()
        self._scanned_all = False
        self._marked = False
        self._first = b""
        self._first_same = False
        self._scanned = self._differing = self._written = self._verified = 0

    def run(self) -> None:
        """Do it.

        Raises:
            RefusedError: the card must not be written; it was not changed.
            CardError: the card failed.
            wire.WireError: the client does not keep to the protocol.
        """
        with self._sink_lock:
            self._sink.write(wire.MAGIC)
            self._sink.flush()
        self._start(self._watch)
        header = self._read_header()
        self._image = str(header["image"])
        self._size = int(header["size_bytes"])
        self._card = self._open_card(str(header["device"]), self._size)
        before = self._read_first_sector()
        unfinished = wire.unfinished_image(before)
        self._send_json(
            wire.INFO,
            {
                "size_bytes": self._card.size_bytes,
                "unfinished": unfinished,
                "direct": self._card.direct,
                "codecs": ["zlib", "zstd"] if _has_zstd() else ["zlib"],
            },
        )
        self._start(self._read_data)
        self._start(self._scan)
        self._write_all()
        if self._marked:
            self._finish()
        self._card.close()
        self._send_json(
            wire.RESULT,
            {
                "written": self._written,
                "same": len(self._indexes) - self._differing,
                "verified": len(self._indexes) - self._differing + self._verified,
                "repaired": unfinished is not None,
            },
        )

    def fail(self, kind: str, message: str) -> None:
        """Tell the client why this ends."""
        values = {"kind": kind, "message": message[:2000], "marked": self._marked}
        with contextlib.suppress(OSError):  # nobody listens any more
            self._send_json(wire.FAILURE, values)

    # -- the client's side

    def _read_header(self) -> dict[str, Any]:
        frame = wire.read_frame(self._read)
        if frame is None or frame[0] != wire.HEADER:
            raise wire.WireError("no header")
        header = json.loads(frame[1])
        if header.get("version") != wire.VERSION or header.get("block_bytes") != wire.BLOCK_BYTES:
            raise wire.WireError("a header of another version")
        size = header["size_bytes"]
        while True:
            frame = wire.read_frame(self._read)
            if frame is None or frame[0] not in (wire.TABLE, wire.TABLE_END):
                raise wire.WireError("no table")
            if frame[0] == wire.TABLE_END:
                break
            for index, value in wire.decode_table(frame[1]):
                if index * wire.BLOCK_BYTES >= size or len(self._indexes) >= _MAX_BLOCKS:
                    raise wire.WireError("a block beyond the image's end")
                if self._indexes and index <= self._indexes[-1]:
                    raise wire.WireError("a table out of order")
                self._indexes.append(index)
                self._digests.append(value)
        if not self._indexes or self._indexes[0] != 0 or size % wire.SECTOR_BYTES:
            raise wire.WireError("an image without its first block, or of odd size")
        return dict(header)

    def _read_data(self) -> None:
        """Thread: frames into the queue. The end of the input ends everything."""
        while True:
            try:
                frame = wire.read_frame(self._read)
                if frame is None:
                    break
                kind, payload = frame
                if kind == wire.DATA:
                    self._put(wire.decode_data(payload))
                elif kind == wire.FINISH:
                    self._put(wire.FINISH)
                elif kind != wire.PING:
                    raise wire.WireError(f"a frame {kind!r} here")
            except wire.WireError as error:
                self._put(error)
                break
            except OSError:
                break
        # The client is gone or gives up; the card stays marked, the lock goes with us.
        self._leave(1)

    def _put(self, item: wire.Data | bytes | Exception) -> None:
        self._full = True  # a slow card is no silence of the client
        self._work.put(item)
        self._heard = time.monotonic()
        self._full = False

    def _read(self, size: int) -> bytes:
        data = self._source.read1(size)  # type: ignore[attr-defined]
        self._heard = time.monotonic()
        return bytes(data)

    def _send(self, frame: bytes) -> None:
        with self._sink_lock:
            self._sink.write(frame)
            self._sink.flush()

    def _send_json(self, kind: bytes, values: dict[str, object]) -> None:
        self._send(wire.encode(kind, json.dumps(values).encode()))

    def _watch(self) -> None:
        """Thread: heartbeat and progress to the client; the dead-man's switch."""
        told = None
        at = 0.0
        while True:
            time.sleep(0.25)
            now = time.monotonic()
            if not self._full and now - self._heard > wire.SILENCE_S:
                self._leave(1)
            card = getattr(self, "_card", None)
            if card is not None:
                stuck_s, what = card.stuck_s()
                if stuck_s > _STUCK_S:
                    self.fail("card", f"{what}: no answer from the card for {_STUCK_S:.0f} s")
                    self._leave(1)
            progress = wire.Progress(self._scanned, self._differing, self._written, self._verified)
            if progress != told or now - at > 1:
                told, at = progress, now
                try:
                    self._send(wire.encode_progress(progress))
                except OSError:
                    self._leave(1)

    def _start(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True).start()

    # -- the card's side

    def _read_first_sector(self) -> bytes:
        view = _buffer(wire.BLOCK_BYTES)[: wire.block_length(0, self._size)]
        self._card.read(0, view)
        return bytes(view[: wire.SECTOR_BYTES])

    def _scan(self) -> None:
        """Thread: compare the card with the table, in order; ask for what differs."""
        try:
            view = _buffer(RUN_BYTES)
            for run in _runs(self._indexes):
                differing = [
                    index
                    for index, block in self._read_run(run, view)
                    if not self._same(index, block)
                ]
                if differing:
                    self._mark()
                    self._needed.update(differing)
                    self._differing += len(differing)
                self._scanned += len(run)
                for frame in wire.encode_indexes(differing):
                    self._send(frame)
            self._send(wire.encode(wire.SCANNED))
            self._work.put(wire.SCANNED)
        except Exception as error:
            self._work.put(error)

    def _same(self, index: int, block: memoryview) -> bool:
        same = wire.digest(block) == self._digest(index)
        if same and index == 0:
            self._first_same = True
            self._first = bytes(block)  # the mark may yet replace its beginning
        return same

    def _mark(self) -> None:
        if self._marked:
            return
        self._card.check_same()
        mark = wire.unfinished_mark(self._image)
        self._marked = True
        self._card.write_first_sector(mark)
        if self._read_first_sector() != mark:
            raise CardError(
                "write at byte 0 (512 bytes): the card reports success and keeps the old bytes; "
                "it is worn out or write-protected"
            )

    def _write_all(self) -> None:
        """Write what comes, until all that was needed is proven; await FINISH if any was."""
        unproven: list[int] = []
        view = _buffer(RUN_BYTES)
        while self._needed or not self._scanned_all:
            item = self._work.get()
            if isinstance(item, Exception):
                raise item
            if item == wire.SCANNED:
                self._scanned_all = True
            elif isinstance(item, wire.Data):
                blocks = self._decode(item)
                if 0 in blocks:
                    self._first = blocks.pop(0)
                    self._needed.discard(0)
                for run in _runs(sorted(blocks)):
                    self._write_run(run, blocks, view)
                unproven += blocks
                if len(unproven) >= _SYNC_BLOCKS:
                    self._prove(unproven, view)
            else:
                raise wire.WireError("the client finished before it had sent everything")
        self._prove(unproven, view)

    def _decode(self, data: wire.Data) -> dict[int, bytes]:
        for index in data.indexes:
            if index not in self._needed:
                raise wire.WireError(f"block {index} was not asked for")
        lengths = [wire.block_length(index, self._size) for index in data.indexes]
        raw = _decompress(data, sum(lengths))
        blocks, at = {}, 0
        for index, length in zip(data.indexes, lengths):  # noqa: B905 (Python 3.9)
            blocks[index] = raw[at : at + length]
            at += length
        return blocks

    def _write_run(self, run: Sequence[int], blocks: dict[int, bytes], view: memoryview) -> None:
        at = 0
        for index in run:
            view[at : at + len(blocks[index])] = blocks[index]
            at += len(blocks[index])
        self._card.write(run[0] * wire.BLOCK_BYTES, view[:at])
        self._needed.difference_update(run)
        self._written += len(run)

    def _prove(self, unproven: list[int], view: memoryview) -> None:
        """Flush, read back what was written, compare; empties the list."""
        if not unproven:
            return
        self._card.sync()
        for run in _runs(sorted(unproven)):
            for index, block in self._read_run(run, view):
                if wire.digest(block) != self._digest(index):
                    raise CardError(_mismatch(index))
            self._verified += len(run)
        unproven.clear()

    def _finish(self) -> None:
        """Block 0: everything but the first sector, proven; at FINISH the first sector."""
        first = self._first
        if len(first) != wire.block_length(0, self._size):
            raise wire.WireError("the first block was never sent")
        view = _buffer(wire.BLOCK_BYTES)[: len(first)]
        rest = wire.unfinished_mark(self._image) + first[wire.SECTOR_BYTES :]
        view[:] = rest
        self._card.write(0, view)
        self._card.sync()
        self._card.read(0, view)
        if view != rest:
            raise CardError(_mismatch(0))
        self._send(wire.encode(wire.PROVEN))
        item = self._work.get()
        if isinstance(item, Exception):
            raise item
        if item != wire.FINISH:
            raise wire.WireError("data where the end was expected")
        self._card.check_same()
        self._card.write_first_sector(first[: wire.SECTOR_BYTES])
        self._card.read(0, view)
        if wire.digest(view) != self._digest(0):
            raise CardError(_mismatch(0))
        if not self._first_same:
            self._written += 1
            self._verified += 1

    def _read_run(self, run: Sequence[int], view: memoryview) -> Iterator[tuple[int, memoryview]]:
        length = sum(wire.block_length(index, self._size) for index in run)
        self._card.read(run[0] * wire.BLOCK_BYTES, view[:length])
        at = 0
        for index in run:
            size = wire.block_length(index, self._size)
            yield index, view[at : at + size]
            at += size

    def _digest(self, index: int) -> bytes:
        return self._digests[bisect.bisect_left(self._indexes, index)]


def main(source: BinaryIO) -> None:
    """Flash what the client on standard input asks for, and end the process."""
    helper = Helper(source, sys.stdout.buffer, os._exit)
    code = 1
    try:
        helper.run()
        code = 0
    except RefusedError as error:
        helper.fail("refused", str(error))
    except CardError as error:
        helper.fail("card", str(error))
    except (wire.WireError, ValueError, KeyError, TypeError) as error:
        helper.fail("protocol", f"{type(error).__name__}: {error}")
    except OSError as error:
        helper.fail("card", f"{error}")
    # Threads may hang in the card's driver: nothing waits for them.
    os._exit(code)


def _decompress(data: wire.Data, length: int) -> bytes:
    """Return what a DATA frame holds; exactly `length` bytes."""
    if data.codec == wire.ZERO:
        raw = b"" if data.payload else bytes(length)
    elif data.codec == wire.RAW:
        raw = data.payload
    elif data.codec == wire.ZLIB:
        try:
            raw = zlib.decompressobj().decompress(data.payload, length + 1)
        except zlib.error as error:
            raise wire.WireError(f"a data frame that does not unpack: {error}") from error
    else:
        raw = _unzstd(data.payload)
    if len(raw) != length:
        raise wire.WireError(f"a data frame of {len(raw)} bytes in place of {length}")
    return raw


def _unzstd(payload: bytes) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

        return bytes(zstd.decompress(payload))
    except ImportError:
        done = subprocess.run(
            ["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, check=False, timeout=60
        )
        return done.stdout


def _has_zstd() -> bool:
    try:
        from compression import zstd  # noqa: F401
    except ImportError:
        return shutil.which("zstd") is not None
    return True


def _runs(indexes: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield stretches of neighbours, none longer than RUN_BYTES."""
    start = 0
    for at in range(1, len(indexes) + 1):
        full = (at - start) * wire.BLOCK_BYTES >= RUN_BYTES
        if at == len(indexes) or indexes[at] != indexes[at - 1] + 1 or full:
            yield indexes[start:at]
            start = at


def _buffer(size: int) -> memoryview:
    """Page-aligned memory, as O_DIRECT wants it."""
    return memoryview(mmap.mmap(-1, size))


def _mismatch(index: int) -> str:
    return (
        f"verify at byte {index * wire.BLOCK_BYTES} ({wire.BLOCK_BYTES} bytes): the card returned "
        "other bytes than were written; it is worn out or counterfeit"
    )
