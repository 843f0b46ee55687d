"""The flags every lesson has, the presets, and the command line made from a dataclass."""

import argparse
import contextlib
import dataclasses
import io
import math
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = REPOSITORY / "output"
SMOKE = REPOSITORY / "build" / "smoke"


class StudyError(Exception):
    """Something the reader can mend: shown as one line on standard error, then the process ends with `status`."""

    status = 2


class TrainingError(StudyError):
    """A training that went wrong although its input was right (a loss that turned NaN)."""

    status = 1


@dataclasses.dataclass(frozen=True)
class Range:
    """The closed interval of values that a flag accepts."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high  # False for NaN

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"between {self.low:.10g} and {self.high:.10g}"


Count = Annotated[int, Range(1)]
Seed = Annotated[int, Range(0, 2**31 - 1)]
Rate = Annotated[float, Range(1e-12, 1e3)]
Fraction = Annotated[float, Range(0, 1)]
Device = Literal["auto", "cpu", "gpu"]
Alone = Literal["none"]  # the type of `distribute` in a lesson that does not train with `fit`


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags every lesson has. A lesson's own `Config` derives from this one and adds to it."""

    preset: Literal["default", "full", "smoke"] = "default"  # minutes on two CPU cores, the tutorials' settings, a test
    epochs: Count | None = None  # passes over the training data
    steps: Count | None = None  # stop training after this many steps, whatever --epochs says
    batch_size: Count | None = None  # examples in one training step
    learning_rate: Rate | None = None  # step size of the optimizer (its peak, where the rate has a schedule)
    seed: Seed = 42  # of the weights, the order of the data, and the samples
    limit: Count | None = None  # use only the first N examples
    device: Device = "auto"  # auto: a GPU that agrees with the CPU, else the CPU
    data: Literal["auto", "real", "embedded"] = "auto"  # auto: real where they can be had, else the embedded stand-in
    data_dir: Path | None = None  # folder with real data; or the variable STUDY_DATA_DIR
    output_dir: Path = PUBLISHED  # where the pictures and the run card go
    resume: bool = False  # go on from the last checkpoint
    distribute: Literal["none", "mirrored", "multi-worker"] = (
        "none"  # train on several devices, or machines (docs/reference.md)
    )

    sampling_only: ClassVar[tuple[str, ...]] = ()  # fields that no training depends on: --resume may change them


TRAINING_FLAGS = ("epochs", "steps", "batch_size", "learning_rate", "resume")
# What decides where a run happens, not what it computes: it may differ from the preset without changing what to expect.
PLACE_FLAGS = ("device", "data", "data_dir", "output_dir", "resume", "distribute")

Presets = Mapping[str, Mapping[str, Any]]


def preset_config(config_class: type[Config], presets: Presets, preset: str) -> Config:
    """The settings of one preset: the class' defaults with the preset's changes."""
    changes = dict(presets.get(preset, {}), preset=preset)
    if preset == "smoke":
        changes.setdefault("output_dir", SMOKE)
    return dataclasses.replace(config_class(), **changes)


def parse(config_class: type[Config], presets: Presets, argv: Sequence[str] | None, program: str, about: str) -> Config:
    """Read the command line; an explicit flag beats the preset.

    Raises:
        StudyError: for an unknown flag, a value of the wrong type, or one out of its range.
        SystemExit: with status 0 after `--help`.
    """
    first_look = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first_look.add_argument("--preset", choices=("default", "full", "smoke"), default="default")
    try:
        preset = first_look.parse_known_args(argv)[0].preset
    except argparse.ArgumentError:
        preset = "default"  # tyro says below what is wrong with it
    defaults = preset_config(config_class, presets, preset)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config = tyro.cli(config_class, args=argv, default=defaults, prog=program, description=about)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise StudyError(f"{_one_line(complaint.getvalue())} (see --help)") from None
    if config.data_dir is None and os.environ.get("STUDY_DATA_DIR"):
        config = dataclasses.replace(config, data_dir=Path(os.environ["STUDY_DATA_DIR"]))
    config = with_home(config)
    check(config)
    return config


def with_home(config: Config) -> Config:
    """The same settings with every "~" that the shell left in a path replaced by the home folder."""
    paths = {name: value for name, value in vars(config).items() if isinstance(value, Path)}
    try:
        return dataclasses.replace(config, **{name: path.expanduser() for name, path in paths.items()})
    except RuntimeError as problem:  # ~nobody
        raise StudyError(f"{problem}: write the path in full") from None


def check(config: Config) -> None:
    """Raise StudyError for a value out of its range or a folder that is none."""
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        for allowed in _ranges(hint):
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and number not in allowed:
                    raise StudyError(f"{flag(name)} must be {allowed}, not {number:g}")
    if config.data_dir is not None and config.data != "embedded" and not config.data_dir.is_dir():
        raise StudyError(
            f"{config.data_dir}: no such folder; name the one with your data by --data-dir or STUDY_DATA_DIR"
        )
    if config.preset == "smoke" and config.output_dir.resolve() == PUBLISHED:
        raise StudyError("--preset smoke does not write over the published pictures; give another --output-dir")


def flag(field_name: str) -> str:
    """The flag of a field: `batch_size` -> `--batch-size`."""
    return "--" + field_name.replace("_", "-")


def changed(config: Config, defaults: Config) -> list[str]:
    """Names of the fields in which two configurations compute something different."""
    return [
        field.name
        for field in dataclasses.fields(config)
        if field.name not in PLACE_FLAGS and getattr(config, field.name) != getattr(defaults, field.name)
    ]


def as_json(config: Config) -> dict[str, Any]:
    """Every parameter in JSON's types. Folders are left out: they say where a run happened, not what it was."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if not isinstance(value, Path) and name != "data_dir"}


def _ranges(hint: Any) -> list[Range]:
    """The ranges inside a type such as `Annotated[int, Range(1)] | None`."""
    found = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Range)]
    for inner in typing.get_args(hint):
        found += _ranges(inner)
    return found


def _one_line(box: str) -> str:
    """The first paragraph of tyro's framed message, without the frame."""
    paragraph = []
    for line in box.splitlines():
        text = line.strip("│╭╮╰╯─ \t")
        if text and not line.startswith(("╭", "╰")):
            paragraph.append(text)
        elif paragraph:
            break
    return re.sub(r"\s+", " ", " ".join(paragraph)).rstrip(". ")
