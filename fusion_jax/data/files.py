"""Finds the files of a data set, or downloads them; either way they are checked against their sha256.

A file `folder/name` is looked for in the folders of the environment variable FUSION_JAX_DATA (separated as
in PATH), in `../shared/data` beside the checkout, and in the user's cache; what is not found is downloaded
into the cache. A file appears there whole and checked, or not at all.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import functools
import hashlib
import http.client
import os
import pathlib
import secrets
import shutil
import tempfile
import urllib.request
import warnings

from fusion_jax import folders

RAW = "https://raw.githubusercontent.com"
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_CHUNK = 1 << 20
_BROKEN = (OSError, http.client.HTTPException)  # no network, no such page, a broken connection
_checked: set[tuple] = set()  # files whose sha256 this process has seen to be right


def cache() -> pathlib.Path | None:
    """`fusion_jax/data` in $XDG_CACHE_HOME, or in ~/.cache; None where no home is known."""
    user = folders.user_cache()
    return None if user is None else user / "data"


@functools.cache
def own_folder() -> pathlib.Path:
    """A temporary folder of this process, gone when it ends: for what cannot be kept."""
    folder = tempfile.mkdtemp(prefix="fusion_jax-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def roots() -> list[pathlib.Path]:
    """The folders searched, in order.

    Raises:
        ValueError: FUSION_JAX_DATA names a home folder that is not known.
    """
    named = os.environ.get("FUSION_JAX_DATA", "").split(os.pathsep)
    named = [pathlib.Path(folders.expand(folder)) for folder in named if folder]
    user = cache()
    return [*named, CHECKOUT.parent / "shared" / "data", *([] if user is None else [user])]


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one data set, all of one public repository at one commit.

    Attributes:
        folder: name of the folder they lie in here.
        repository: "owner/name".
        commit: the full commit id.
        path: their folder in the repository, "" for its root; as in an address, %20 for a space.
        sha256: {file name: sha256 of its bytes}.
        derived: names of those that were made from files of the repository and do not lie there: found, never
            downloaded.
        folders: {file name: its folder below `path`} of those that do not lie in `path` itself.
    """

    folder: str
    repository: str
    commit: str
    path: str
    sha256: dict[str, str]
    derived: tuple[str, ...] = ()
    folders: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """One sha256 over the names and the sha256 of all files, the same on every machine."""
        lines = "".join(f"{value}  {name}\n" for name, value in sorted(self.sha256.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def url(self, name: str) -> str:
        """Where the file lies upstream, "" for a derived one."""
        if name in self.derived:
            return ""
        parts = (RAW, self.repository, self.commit, self.path, self.folders.get(name, ""), name)
        return "/".join(part for part in parts if part)

    def find(self, name: str) -> pathlib.Path | None:
        """The first such file in the folders searched, unchecked, or None."""
        made = [own_folder()] if own_folder.cache_info().currsize else []
        places = (root / self.folder / name for root in (*roots(), *made))
        return next((p for p in places if p.is_file()), None)

    def get(self, name: str) -> pathlib.Path:
        """The file, found or downloaded, with the right contents.

        Raises:
            ValueError: its sha256 is not the expected one (a file that was found is left as it is, a download
                is thrown away).
            FileNotFoundError: found nowhere, and the download failed, or the file is a derived one.
            OSError: the download cannot be written.
        """
        path = self.find(name)
        if path is None and name in self.derived:
            raise FileNotFoundError(
                f"{self.folder}/{name} is in none of {', '.join(map(str, roots()))}, and it cannot be downloaded: it "
                f"was made from files of {self.repository} (sha256 {self.sha256[name]}); {self.by_hand(name)}"
            )
        path = path or self._download(name)
        check(path, self.sha256[name])
        return path

    def by_hand(self, name: str) -> str:
        """Where to put a file that cannot be downloaded."""
        kept = "" if cache() is None else f"{cache() / self.folder / name}, or at "
        return f"put it at {kept}FOLDER/{self.folder}/{name} with the environment variable FUSION_JAX_DATA=FOLDER"

    def _place(self) -> pathlib.Path:
        """The folder downloads go to: in the user's cache, or a temporary one where that cannot be written."""
        try:
            if cache() is None:
                raise OSError("no home folder is known here")
            place = cache() / self.folder
            place.mkdir(parents=True, exist_ok=True)
            if not os.access(place, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(place))
        except OSError as error:
            warnings.warn(f"downloads are not kept after this run: {error}", stacklevel=4)
            place = own_folder() / self.folder
            place.mkdir(exist_ok=True)
        return place

    def _download(self, name: str) -> pathlib.Path:
        target = self._place() / name
        part = target.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with open(part, "xb") as out:
                found, size, expected_size = self._fetch(name, out)
            if found != self.sha256[name]:
                cut = f" of {expected_size} announced" if size != (expected_size or size) else ""
                raise ValueError(
                    f"{self.folder}/{name}: the download from {self.url(name)} gave {size} bytes{cut} with "
                    f"sha256 {found}; expected {self.sha256[name]}. It was cut short or altered, and nothing "
                    f"was kept: load again, or {self.by_hand(name)}"
                )
            os.replace(part, target)
        except OSError as error:
            if error.filename is None and error.errno is not None:  # "No space left on device": say where
                raise OSError(error.errno, error.strerror, os.fspath(target)) from error
            raise
        finally:
            part.unlink(missing_ok=True)
        return target

    def _fetch(self, name: str, out) -> tuple[str, int, int | None]:
        """Writes the upstream file to `out`; its sha256, its size and the size the server announced."""
        digest, size = hashlib.sha256(), 0
        with contextlib.ExitStack() as stack:
            try:
                response = stack.enter_context(urllib.request.urlopen(self.url(name), timeout=60))
                announced = response.headers.get("Content-Length")
            except _BROKEN as error:
                raise self._nowhere(name, error) from error
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except _BROKEN as error:
                    raise self._nowhere(name, error) from error
                if not chunk:
                    return digest.hexdigest(), size, int(announced) if announced else None
                out.write(chunk)  # a full disk is not a failed download
                digest.update(chunk)
                size += len(chunk)

    def _nowhere(self, name: str, error: Exception) -> FileNotFoundError:
        return FileNotFoundError(
            f"{self.folder}/{name} is in none of {', '.join(map(str, roots()))}, and the download from "
            f"{self.url(name)} failed ({error}). Load again with a network; or get the file elsewhere "
            f"(sha256 {self.sha256[name]}) and {self.by_hand(name)}"
        )


def check(path: pathlib.Path, expected: str) -> None:
    """Raises ValueError unless the file has that sha256; reads a file once a process."""
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns, stat.st_size, expected)
    if key in _checked:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path}: sha256 is {found}, expected {expected}; the file is damaged or of another version: "
            f"replace or remove it"
        )
    _checked.add(key)
