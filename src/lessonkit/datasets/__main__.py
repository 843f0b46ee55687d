"""`make data`: fetch every real data set now, into Keras' cache, for later use without a network."""

import sys

from lessonkit.config import Config, StudyError
from lessonkit.datasets import celeba, cifar10, fashion_mnist, imdb, mnist, source, translation

DATA_SETS = (mnist, fashion_mnist, cifar10, imdb, celeba)  # the largest last
SOURCES = [*translation.SOURCES, *(sys.modules[data.__module__].SOURCE for data in DATA_SETS)]


class Fetching:
    """As much of a run as `source.fetch` needs."""

    config = Config(data="real")
    online = None
    say = staticmethod(print)


def main() -> int:
    """Fetch all, the next one even if one could not be had; 2 if any could not."""
    print(f"real data sets, kept in {source.keras_home()} (KERAS_HOME):")
    for wanted in SOURCES:
        missing = [download for download in wanted.downloads if not (source.keras_home() / download.file).exists()]
        size = f"{sum(download.megabytes for download in missing):,} MB" if missing else "there"
        print(f"  {wanted.name:15}{size:>9}")
    run, failed = Fetching(), []
    for wanted in SOURCES:
        for download in wanted.downloads:
            try:
                print(f"{wanted.name}: {source.fetch(run, download)}")
            except (LookupError, StudyError) as problem:
                print(f"{wanted.name}: {problem}; {wanted.how_to_place}", file=sys.stderr)
                failed.append(wanted.name)
                break  # a part of a data set is of no use
    if failed:
        print(f"not fetched: {', '.join(failed)}; the lessons use their stand-ins until then", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
