# SPDX-License-Identifier: Apache-2.0
"""One suite of a Debian archive for one architecture, by apt in a root of its own.

apt does what it is good at: checking the archive's signature and solving dependencies. It reads
none of this machine's configuration but its proxies, writes only below farm's cache, and never
runs dpkg. What it answered is kept with the index that it answered from, so that the same
question costs no apt run.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from farm.core.arch import Arch
from farm.core.errors import BuildError, FarmError, UserError
from farm.core.files import locked, sha256_file, write_text
from farm.core.places import cache_dir
from farm.core.progress import Reporter, Task
from farm.core.run import Completed, paste, run
from farm.core.scratch import remove_left_scratch, scratch_prefix
from farm.debian.failures import StaleIndexError, explain
from farm.debian.settings import ArchiveSettings, check_mirror, check_suite, machine_mirror

__all__ = ["Archive", "Package", "StaleIndexError"]

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What apt does or does not do here changes with this file: it is in the key of each answer.
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_AREA = re.compile(r"[a-z0-9-]+")
_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})")
_APT_TIMEOUT_S = 600
_LOOK_EVERY_S = 0.2
_DOWNLOADING = ".new-"
# Roots whose index this process has fetched: once is enough for all packages of a build.
_UPDATED: set[Path] = set()


@dataclass(frozen=True)
class Package:
    """One package of the archive.

    Args:
        name: its name.
        version: its version, with epoch.
        arch: Debian's architecture, or `all`.
        filename: its path below the mirror.
        size: of the .deb, in bytes.
        sha256: of the .deb, as the signed index says.
    """

    name: str
    version: str
    arch: str
    filename: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """The .deb's own name."""
        return unquote(self.filename.rpartition("/")[2])


def tidy_downloads(cache: Path | None = None) -> None:
    """Remove packages that were half fetched when their process was killed."""
    remove_left_scratch(_cache_of(cache) / "pool", _DOWNLOADING)


def _cache_of(given: Path | None) -> Path:
    return given if given is not None else cache_dir() / "debian"


class Archive:
    """One suite for one architecture.

    Args:
        settings: the mirror, and the suite where `suite` is None.
        arch: what its packages run on.
        suite: the suite.
        areas: parts of the archive: main, contrib, non-free, non-free-firmware.
        cache: where apt's files and the packages are kept; None means farm's cache.

    Raises:
        UserError: the suite's, an area's or the mirror's name is malformed.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        *,
        arch: Arch,
        suite: str | None = None,
        areas: tuple[str, ...] = ("main",),
        cache: Path | None = None,
    ) -> None:
        self.suite = suite or settings.suite
        self.arch = arch
        self.areas = tuple(dict.fromkeys(areas)) or ("main",)
        self._mirror = settings.mirror
        self._update = settings.update
        check_suite(self.suite)
        if self._mirror is not None:
            check_mirror(self._mirror)
        for area in self.areas:
            if not _AREA.fullmatch(area):
                raise UserError(f"{area!r}: not an area of the archive", hint="as main")
        self._cache = _cache_of(cache)
        identity = "\n".join((self._mirror or "", self.suite, arch, *self.areas))
        short = hashlib.sha256(identity.encode()).hexdigest()[:8]
        self._root = self._cache / "apt" / f"{self.suite.replace('/', '_')}-{arch}-{short}"

    # --- questions ---

    def resolve(
        self, names: Sequence[str], *, dependencies: bool, reporter: Reporter
    ) -> tuple[Package, ...]:
        """Return the packages that names mean, in the order of their names.

        Args:
            names: of packages.
            dependencies: whether everything that they depend on comes too (not what they
                recommend).
            reporter: told when an index is fetched, which happens where there is none yet.

        Raises:
            UserError: no package has such a name; the hint is the nearest.
            BuildError: the mirror cannot be reached, or its index is wrong.
        """
        for name in names:
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r}: not a package's name")
        index = None if self._wants_update() else self._index()
        if index is None:
            index = self._refresh(reporter, again=self._wants_update())
        question = json.dumps([_FORMAT, index, sorted(set(names)), dependencies])
        place = self._root / "answers" / f"{hashlib.sha256(question.encode()).hexdigest()}.json"
        if (known := _read_answer(place)) is not None:
            return known
        answer = self._ask(sorted(set(names)), dependencies)
        write_text(place, json.dumps([asdict(package) for package in answer]))
        return answer

    def refresh(self, reporter: Reporter) -> None:
        """Fetch the index, checking its signature.

        Raises:
            UserError: the suite or an area does not exist there.
            BuildError: the mirror cannot be reached, or its index is unsigned, wrong or out of
                step.
        """
        self._refresh(reporter, again=True)

    # --- packages ---

    def fetch(self, packages: Sequence[Package], reporter: Reporter) -> tuple[Path, ...]:
        """Return the .debs of packages, fetched where the cache has them not, all verified.

        Raises:
            StaleIndexError: the mirror no longer has one of these versions.
            BuildError: the mirror cannot be reached, or sends something else.
        """
        places = {package: self._place(package) for package in packages}
        absent = [package for package, place in places.items() if not _is_it(place, package)]
        if absent:
            total = sum(package.size for package in absent)
            what = absent[0].name if len(absent) == 1 else f"{len(absent)} packages"
            with reporter.task(f"fetching {what} ({total / 1e6:.1f} MB)") as task:
                self._download(absent, total, task)
        return tuple(places.values())

    def obtain(
        self, names: Sequence[str], reporter: Reporter, *, dependencies: bool = False
    ) -> tuple[tuple[Package, ...], tuple[Path, ...]]:
        """Resolve and fetch; where the mirror has moved on, once more with a new index.

        Raises:
            UserError, BuildError: as `resolve` and `fetch`.
        """
        packages = self.resolve(names, dependencies=dependencies, reporter=reporter)
        try:
            return packages, self.fetch(packages, reporter)
        except StaleIndexError:
            self.refresh(reporter)
            packages = self.resolve(names, dependencies=dependencies, reporter=reporter)
            return packages, self.fetch(packages, reporter)

    # --- inside ---

    @property
    def _label(self) -> str:
        return f"Debian {self.suite} {'+'.join(self.areas)} for {self.arch.to_debian()}"

    def _index(self) -> str | None:
        try:
            return (self._root / "index").read_text()
        except OSError:
            return None

    def _refresh(self, reporter: Reporter, *, again: bool) -> str:
        """Fetch the index and return what identifies it; only where there is none, or `again`."""
        with locked(self._root / ".lock"):
            if not again and (index := self._index()):
                return index
            with reporter.task(f"index of {self._label}"):
                self._write_configuration()
                done = self._apt(["update", "--error-on=any"])
            # An area that the suite lacks is no more than a warning to apt.
            if done.returncode != 0 or b"doesn't have the component" in done.stderr:
                raise self._explained(done, f"index of {self._label}")
            releases = sorted((self._root / "state" / "lists").glob("*Release"))
            digests = "".join(sha256_file(path) for path in releases)
            index = hashlib.sha256(digests.encode()).hexdigest()
            write_text(self._root / "index", index)
            _UPDATED.add(self._root)
            return index

    def _wants_update(self) -> bool:
        return self._update and self._root not in _UPDATED

    def _place(self, package: Package) -> Path:
        return self._cache / "pool" / package.sha256 / package.file

    def _ask(self, names: list[str], dependencies: bool) -> tuple[Package, ...]:
        verb = "install" if dependencies else "download"
        with locked(self._root / ".lock"):
            done = self._apt([verb, "--print-uris", "-y", "-qq", *names])
            if done.returncode != 0:
                raise self._explained(done, self._label)
        mirror = self._uri()
        found = [_package(line, mirror) for line in done.stdout.decode().splitlines() if line]
        return tuple(sorted(found, key=lambda package: (package.name, package.version)))

    def _download(self, packages: Sequence[Package], total: int, task: Task) -> None:
        folder = self._cache / "pool"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=scratch_prefix(_DOWNLOADING), dir=folder
        ) as scratch:
            beside = Path(scratch)
            wanted = [f"{package.name}={package.version}" for package in packages]
            with _looking(lambda: task.update(_bytes_in(beside), total)):
                done = self._apt(["download", "-qq", *wanted], cwd=beside)
            if done.returncode != 0:
                raise self._explained(done, f"packages of {self._label}")
            for package in packages:
                self._keep(package, beside)
            task.update(total, total)

    def _keep(self, package: Package, folder: Path) -> None:
        version = package.version.replace(":", "%3a")
        got = folder / f"{package.name}_{version}_{package.arch}.deb"
        if not _is_it(got, package):
            raise StaleIndexError(
                f"{package.name} {package.version}: the mirror sent something else than the index"
                " says",
                hint="try again later, or with another mirror: FARM_MIRROR=…",
            )
        place = self._place(package)
        place.parent.mkdir(exist_ok=True)
        got.chmod(0o644)
        got.rename(place)

    def _uri(self) -> str:
        listed = (self._root / "etc" / "sources.list").read_text()
        return listed.split()[2]

    def _write_configuration(self) -> None:
        """Lay out apt's root, with the mirror that is this machine's now."""
        if not _KEYRING.exists():
            raise UserError(
                f"{_KEYRING}: absent; without it no index can be checked",
                hint="sudo apt-get install debian-archive-keyring",
            )
        mirror = self._mirror or machine_mirror()
        for name in (
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/sources.list.d",
            "state/lists/partial",
            "cache/archives/partial",
        ):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        write_text(self._root / "state" / "status", "")
        write_text(self._root / "apt.conf", self._configuration())
        areas = " ".join(self.areas)
        write_text(
            self._root / "etc" / "sources.list",
            f"deb [signed-by={_KEYRING}] {mirror.rstrip('/')} {self.suite} {areas}\n",
        )

    def _configuration(self) -> str:
        root = str(self._root)
        if any(sign in root for sign in '"\n;\\'):
            raise UserError(f"{root}: apt cannot work in a folder of such a name")
        arch = self.arch.to_debian()
        lines = (
            f'Dir "{root}";',
            'Dir::Etc "etc";',
            'Dir::State "state";',
            f'Dir::State::status "{root}/state/status";',
            'Dir::Cache "cache";',
            f'APT::Architecture "{arch}";',
            f'APT::Architectures {{ "{arch}"; }};',
            # apt's own user could not write below the cache of root's home.
            'APT::Sandbox::User "root";',
            'APT::Install-Recommends "false";',
            'Acquire::Languages "none";',
            'Acquire::PDiffs "false";',
            'Acquire::ForceHash "SHA256";',
            'Acquire::Retries "2";',
            'Acquire::http::Timeout "30";',
            'Acquire::https::Timeout "30";',
            *_proxies(),
        )
        return "".join(f"{line}\n" for line in lines)

    def _environment(self) -> dict[str, str]:
        kept = ("http_proxy", "https_proxy", "no_proxy")
        given = {name: os.environ[name] for name in kept if name in os.environ}
        # Messages are read: they must be in English.
        return {"APT_CONFIG": str(self._root / "apt.conf"), "LC_ALL": "C", **given}

    def _apt(self, argv: Sequence[str], cwd: Path | None = None) -> Completed:
        return run(
            ["apt-get", *argv],
            cwd=cwd,
            env=self._environment(),
            timeout_s=_APT_TIMEOUT_S,
            check=False,
            what=f"apt for {self._label}",
        )

    def _explained(self, done: Completed, what: str) -> FarmError:
        environment = f"APT_CONFIG={self._root / 'apt.conf'}"
        return explain(
            done.stderr.decode(errors="replace"),
            what=what,
            suite=self.suite,
            arch=self.arch,
            mirror=self._uri(),
            command=f"{environment} {paste(done.argv)}",
            nearest=self._nearest,
        )

    def _nearest(self, name: str) -> str | None:
        done = run(
            ["apt-cache", "pkgnames"],
            env=self._environment(),
            timeout_s=_APT_TIMEOUT_S,
            check=False,
        )
        # Comparing with each of 60,000 names takes seconds: only those that could be near.
        near = [
            other
            for other in sorted(done.stdout.decode().split())
            if abs(len(other) - len(name)) < 4
            and (other[:2] == name[:2] or other[-3:] == name[-3:])
        ]
        matches = difflib.get_close_matches(name, near, n=1)
        return matches[0] if matches else None


def _package(line: str, mirror: str) -> Package:
    found = _URI_LINE.fullmatch(line.strip())
    if found is None:
        raise BuildError(f"apt answered something that farm does not know: {line[:200]}")
    name, version, rest = found["file"].removesuffix(".deb").split("_")
    uri = found["uri"]
    if not uri.startswith(f"{mirror}/"):
        raise BuildError(f"apt answered with a file from elsewhere: {uri}")
    return Package(
        name=name,
        version=unquote(version),
        arch=rest,
        filename=uri.removeprefix(f"{mirror}/"),
        size=int(found["size"]),
        sha256=found["sha"],
    )


def _read_answer(place: Path) -> tuple[Package, ...] | None:
    try:
        return tuple(Package(**fields) for fields in json.loads(place.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _is_it(path: Path, package: Package) -> bool:
    try:
        return path.stat().st_size == package.size and sha256_file(path) == package.sha256
    except OSError:
        return False


@contextlib.contextmanager
def _looking(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` now and then while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            look()

    thread = threading.Thread(target=watch, name="apt-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            # apt renames a file once it is whole.
            continue
    return total


def _proxies() -> Iterable[str]:
    """Lines of this machine's apt configuration that say how the network is reached."""
    dumped = run(["apt-config", "dump", "Acquire"], check=False, timeout_s=60).stdout.decode()
    for line in dumped.splitlines():
        key, _, value = line.partition(" ")
        if re.fullmatch(r"Acquire::https?::(\S+::)?Proxy(-Auto-Detect)?", key) and value != '"";':
            yield line
