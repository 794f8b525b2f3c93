"""Download the named data sets with pooch, and check their SHA-256 sums."""

from __future__ import annotations

import hashlib
import importlib
import os
from dataclasses import dataclass
from types import ModuleType

from fastsm.data._dataset import DataError
from fastsm.data._folder import FILES

__all__ = ["SOURCES", "Source", "cached", "fetch", "pooch_or_none"]


@dataclass(frozen=True)
class Source:
    """The mirrors that serve the four files of a set (those of `FILES`, with .gz), and the SHA-256 sums."""

    mirrors: tuple[str, ...]
    sums: tuple[str, ...]


SOURCES = {
    # https://github.com/zalandoresearch/fashion-mnist, MIT
    "fashion-mnist": Source(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    # http://codh.rois.ac.jp/kmnist, CC BY-SA 4.0
    "kmnist": Source(
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
    # http://yann.lecun.com/exdb/mnist, which no longer serves the files
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}


def pooch_or_none() -> ModuleType | None:
    """Return pooch, or None if it is not installed."""
    try:
        return importlib.import_module("pooch")
    except ImportError:
        return None


def cached(pooch: ModuleType, name: str) -> str | None:
    """Return the folder in pooch's cache, or None unless it has all four files with the right sums."""
    folder = os.path.join(pooch.os_cache("fastsm"), name)
    for file, known in zip(FILES, SOURCES[name].sums, strict=True):
        try:
            with open(os.path.join(folder, f"{file}.gz"), "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != known:
                    return None
        except OSError:
            return None
    return folder


def fetch(pooch: ModuleType, name: str) -> str:
    """Download the files that are missing in pooch's cache; return the folder."""
    folder = os.path.join(pooch.os_cache("fastsm"), name)
    source = SOURCES[name]
    for file, known in zip(FILES, source.sums, strict=True):
        failures = []
        for mirror in source.mirrors:
            try:
                pooch.retrieve(
                    url=f"{mirror}{file}.gz",
                    known_hash=f"sha256:{known}",
                    fname=f"{file}.gz",
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=30),
                )
                break
            except (OSError, ValueError) as error:  # OSError from requests; ValueError for a wrong sum
                reason = "the SHA-256 sum is wrong" if isinstance(error, ValueError) else _first_line(error)
                failures.append(f"{mirror}: {reason}")
        else:
            raise DataError(
                f"{file}.gz of {name} could not be downloaded ({'; '.join(failures)}): try again later, or"
                " put the four files into a folder and give it as `data_dir`"
            )
    return folder


def _first_line(error: OSError) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
