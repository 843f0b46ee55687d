"""`make data`: fetch every real data set now, into Keras' cache, for later use without a network."""

import sys

from lessonkit.config import Config, StudyError
from lessonkit.datasets import celeba, cifar10, fashion_mnist, imdb, mnist, source

DATA_SETS = (mnist, fashion_mnist, cifar10, celeba, imdb)
SOURCES = [sys.modules[data.__module__].SOURCE for data in DATA_SETS]


class Fetching:
    """As much of a run as `source.fetch` needs."""

    config = Config(data="real")
    online = None
    say = staticmethod(print)


def main() -> int:
    """Fetch all; 2 if one could not be had."""
    status = 0
    for wanted in SOURCES:
        for download in wanted.downloads:
            try:
                print(f"{wanted.name}: {source.fetch(Fetching, download)}")
            except (LookupError, StudyError) as problem:
                print(f"{wanted.name}: {problem}; {wanted.how_to_place}", file=sys.stderr)
                status = 2
    return status


if __name__ == "__main__":
    raise SystemExit(main())
