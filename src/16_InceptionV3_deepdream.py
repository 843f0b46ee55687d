"""16 · DeepDream: ask a trained network to see more of what it sees.

Training changes the weights so that a picture gives the right answer. DeepDream leaves the weights alone and changes
the PICTURE, so that some layers of the network answer louder. With the activations A_l of layer l, two pixels of their
border left out, the pixels x climb

    excitement(x) = sum over layers l of  weight_l * mean of A_l(x)^2

by steps along the gradient (up, not down: ascent). A cloud that faintly excites a channel for eyes grows an eye, which
excites it more. Shallow layers know edges and strokes; the deeper a layer, the larger and the more like things is
what it adds. Four devices make a good picture of it:

    bands      the gradient's size says little, and most of it is fine grain. So it is split into bands of coarse and
               fine detail, each brought to the same strength, and every step moves the pixels by the same mean amount
    octaves    a channel sees a patch of some hundred pixels; so dream on the small picture first, then enlarge what
               was dreamt and go on in it: large figures come from small pictures, their details from large ones
    detail     keep the photograph and the dream d apart: at each size the network sees  photograph + d.  Enlarging
               blurs only d, never the photograph, and with no steps at all the photograph comes back, bit for bit
    shifts     before each step the picture is rolled by a random number of pixels. Large pictures are cut into tiles,
               and the seams, which are elsewhere in every step, never show

What you will see: before and after; the dream of each octave; what each depth of the network dreams alone, from the
photograph and from nothing, and how much of the picture it sees; the excitement as it grows.

Run:    python src/16_InceptionV3_deepdream.py       about a minute on two CPU cores
        python src/16_InceptionV3_deepdream.py --content my_photo.jpg --layers mixed5=1 mixed7=2
Makes:  output/16_InceptionV3_deepdream.png and output/16_InceptionV3_deepdream/
Source: Mordvintsev, Olah & Tyka, Inceptionism: Going Deeper into Neural Networks, Google Research blog, 2015;
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567;
        Chollet, Deep Learning with Python, 2nd edition, 2021, chapter 12 (the settings of `full`)
"""

import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from lessonkit import backbones, config, datasets, doctor, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The tutorial's layers and octaves on a picture of moderate size, with gentler steps and random shifts."""

    steps: Annotated[int, config.Range(0)] = 16  # of gradient ascent in every octave; 0 gives the photograph back
    distribute: config.Alone = "none"  # one picture
    learning_rate: config.Rate = 0.025  # how far a step goes, in halves of a pixel's range; see `normalise`
    content: Path | None = None  # your photograph: any picture that Pillow opens
    photograph: Literal["china", "flower"] = "china"  # the one if you name none
    most_pixels: config.Count = 240_000  # a picture that has more is made smaller: time grows with it, memory hardly
    backbone: Literal["inception_v3", "vgg19", "squeezenet", "cifar10_convnet"] = "inception_v3"
    weights: Path | None = None  # a file with the backbone's weights; none: data folder, Keras' cache, download
    layers: tuple[str, ...] = ()  # name=weight, with spaces between them; none: see TASTES
    octaves: config.Count | None = None  # sizes of the picture to dream at; none: see TASTES
    octave_ratio: Annotated[float, config.Range(1.05, 4)] = 1.4  # of one octave's height to the next one's
    normalise: Literal["bands", "l2"] = "bands"  # bring each band to the same strength, or the whole to length 1
    shift: Annotated[int, config.Range(0)] = 64  # largest random shift in pixels; 0: none
    tile: Annotated[int, config.Range(128)] = 640  # side of the largest piece that the network sees at once
    side_steps: config.Count = 40  # of the pictures that single layers dream, which have one octave only
    most_excitement: Annotated[float, config.Range(0)] | None = None  # an octave ends where it is exceeded


PRESETS = {
    "full": {
        "steps": 30,
        "learning_rate": 20.0,
        "normalise": "l2",
        "shift": 0,
        "tile": 4096,
        "most_excitement": 15.0,
        "most_pixels": 1_000_000,
    },
    "smoke": {"steps": 3, "most_pixels": 40_000, "octaves": 3, "side_steps": 3, "data": "embedded"},
}


@dataclasses.dataclass(frozen=True)
class Taste:
    """What suits a network: it dreams well of some layers only, and sees things of the size that it was trained on."""

    layers: dict[str, float]  # what is excited, and how much each counts
    depths: tuple[str, ...]  # what dreams alone, from shallow to deep
    octaves: int
    smallest: int  # pixels; with a shorter side its deep layers have nothing left but border


TASTES = {
    "inception_v3": Taste(
        {"mixed4": 1.0, "mixed5": 1.5, "mixed6": 2.0, "mixed7": 2.5}, ("mixed0", "mixed2", "mixed4", "mixed7"), 3, 112
    ),
    "vgg19": Taste(
        {"block4_conv3": 1.0, "block5_conv2": 2.0},
        ("block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"),
        3,
        112,
    ),
    "squeezenet": Taste(
        {"fire6_concat": 1.0, "fire8_concat": 2.0},
        ("fire2_concat", "fire4_concat", "fire6_concat", "fire9_concat"),
        3,
        112,
    ),
    "cifar10_convnet": Taste({"relu4": 1.0, "relu5": 2.0}, ("relu1", "relu2", "relu3", "relu5"), 5, 48),
}
BORDER = 2  # activations at the edge that do not count: they see the padding
BANDS = 4  # of detail in a gradient, each half as fine as the last


def parse_layers(words: Sequence[str], backbone: backbones.Backbone) -> dict[str, float]:
    """("mixed4=1", "mixed5=1.5") -> {"mixed4": 1.0, "mixed5": 1.5}; a name alone counts 1; none: see TASTES."""
    layers = {}
    for word in words:
        name, _, weight = word.partition("=")
        if name not in backbone.layers:
            raise config.StudyError(f"--layers {word}: {backbone.name} has {', '.join(backbone.layers)}")
        try:
            layers[name] = float(weight or 1)
        except ValueError:
            layers[name] = math.nan
        if not math.isfinite(layers[name]):
            raise config.StudyError(f"--layers {word}: write it as {name}=1.5")
    return layers or TASTES[backbone.name].layers


# %% Excitement


def build_excitement(backbone: backbones.Backbone, layers: Mapping[str, float]) -> Callable:
    """A function: pixels (1, height, width, 3), RGB 0..255, of any size -> (excitement, its gradient)."""
    reading = backbone.reading(list(layers))  # nothing above the deepest of them is built

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32)])
    def excitement(pixels):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            activations = reading(backbone.preprocess(pixels), training=False)
            inner = {layer: activations[layer][:, BORDER:-BORDER, BORDER:-BORDER] for layer in layers}
            total = tf.add_n([weight * tf.reduce_mean(tf.square(inner[layer])) for layer, weight in layers.items()])
        return total, tape.gradient(total, pixels)

    return excitement


def in_tiles(excitement: Callable, picture: np.ndarray, tile: int) -> tuple[float, np.ndarray]:
    """Excitement and gradient of a picture (height, width, 3), piece by piece: memory does not grow with it."""
    height, width = picture.shape[:2]
    rows, columns = (np.linspace(0, side, math.ceil(side / tile) + 1).astype(int) for side in (height, width))
    gradient, total = np.empty_like(picture), 0.0
    for top, bottom in zip(rows, rows[1:], strict=False):
        for left, right in zip(columns, columns[1:], strict=False):
            value, slope = excitement(picture[None, top:bottom, left:right])
            share = (bottom - top) * (right - left) / (height * width)
            gradient[top:bottom, left:right] = share * slope[0].numpy()
            total += share * float(value)
    return total, gradient


# %% Dream


def octave_sizes(height: int, width: int, octaves: int, ratio: float, smallest: int = 1) -> list[tuple[int, int]]:
    """(height, width) of each octave, from the smallest to the picture's own."""
    sizes = [(round(height / ratio**step), round(width / ratio**step)) for step in reversed(range(octaves))]
    if min(sizes[0]) < smallest:
        raise config.StudyError(
            f"the smallest of {octaves} octaves has {sizes[0][1]} x {sizes[0][0]} pixels, and the network needs "
            f"{smallest} each way; take a larger picture, fewer --octaves or a smaller --octave-ratio"
        )
    return sizes


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 (height, width, 3) -> (*size, 3), bilinear."""
    if picture.shape[:2] == size:
        return picture
    return tf.image.resize(picture, size, antialias=True).numpy()


def rms(values: np.ndarray) -> float:
    """Root mean square, never quite zero."""
    return math.sqrt(np.square(values, dtype=np.float64).mean() + 1e-24)


def equalised(gradient: np.ndarray) -> np.ndarray:
    """A gradient (height, width, 3) whose bands of detail all have the same strength, and whose root mean square is 1.

    A Laplacian pyramid: halve the gradient again and again; what each halving loses is a band. This is how the first
    DeepDreams got their large figures, for the raw gradient is strongest in the finest band.
    """
    bands = []
    while len(bands) < BANDS - 1 and min(gradient.shape[:2]) >= 16:
        half = resized(gradient, (gradient.shape[0] // 2, gradient.shape[1] // 2))
        bands.append(gradient - resized(half, gradient.shape[:2]))
        gradient = half
    total = gradient / rms(gradient)
    for band in reversed(bands):
        total = resized(total, band.shape[:2]) + band / rms(band)
    return (total / rms(total)).astype(np.float32)


def normalised(gradient: np.ndarray, kind: str) -> np.ndarray:
    """A gradient (height, width, 3) as a step: `bands` moves every pixel alike, `l2` less in a large picture."""
    if kind == "bands":
        return equalised(gradient)
    return gradient / np.float32(rms(gradient) * math.sqrt(gradient.size))


def ascend(excitement: Callable, picture: np.ndarray, random: np.random.Generator, watch: Callable, settings: Config):
    """Climb from a picture (height, width, 3), 0..255; returns where it ends."""
    for _ in range(settings.steps):
        shift = random.integers(-settings.shift, settings.shift + 1, 2)
        value, gradient = in_tiles(excitement, np.roll(picture, shift, (0, 1)), settings.tile)
        step = normalised(np.roll(gradient, -shift, (0, 1)), settings.normalise)
        picture = picture + 127.5 * settings.learning_rate * step
        watch(value, picture)
        if settings.most_excitement is not None and value > settings.most_excitement:
            break
    return picture


def dream(
    excitement: Callable, photograph: np.ndarray, sizes: Sequence[tuple[int, int]], settings: Config, watch: "Watch"
) -> list[np.ndarray]:
    """Dream at one size after the other; returns the picture after each, float32, at the photograph's size."""
    photograph = np.asarray(photograph, np.float32)
    random = np.random.default_rng(settings.seed)
    dreamt, results = np.zeros_like(photograph), []
    for size in sizes:
        here = resized(photograph, size)  # always from the photograph, never from a dream
        dreamt = resized(dreamt, size)
        watch.start_octave(photograph, here)
        dreamt = ascend(excitement, here + dreamt, random, watch, settings) - here
        results.append(photograph + resized(dreamt, photograph.shape[:2]))
    return results


class Watch:
    """Excitement and seconds of every step by octave, and a frame of the GIF from some; a bar; stops at NaN."""

    def __init__(self, total: int, frames: int = 0):
        self.octaves, self.sizes, self.frames = [], [], []
        self.every = max(1, round(total / frames)) if frames else 0
        self.bar = keras.utils.Progbar(total, verbose=1 if sys.stdout.isatty() else 2, stateful_metrics=["excitement"])
        self.begin, self.steps = time.perf_counter(), 0

    def start_octave(self, photograph: np.ndarray, here: np.ndarray) -> None:
        self.photograph, self.here = photograph, here
        self.sizes.append(here.shape[:2])
        self.octaves.append([])

    def __call__(self, value: float, picture: np.ndarray) -> None:
        training.check_finite({"excitement": value}, self.steps, "step")
        self.steps += 1
        self.octaves[-1].append(value)
        self.bar.update(self.steps, [("excitement", value)])
        if self.every and self.steps % self.every == 0:
            dreamt = resized(picture - self.here, self.photograph.shape[:2])
            self.frames.append(figures.as_bytes(self.photograph + dreamt, width=320))

    @property
    def seconds_per_step(self) -> float:
        return (time.perf_counter() - self.begin) / max(self.steps, 1)


# %% Look


def draw_excitement(watch: Watch) -> figures.Figure:
    """Excitement over the steps, one octave after the other."""
    figure, axes = figures.subplots(title="The excitement climbs at every size of the picture")
    begin = 1
    for (height, width), values, color in zip(watch.sizes, watch.octaves, itertools.cycle(figures.COLORS)):
        label = f"{width} x {height} pixels: {values[0]:.2g} to {values[-1]:.2g}"
        axes.plot(range(begin, begin + len(values)), values, ".-", color=color, label=label)
        begin += len(values)
    axes.set_xlabel("step of gradient ascent")
    axes.set_ylabel("excitement")
    axes.legend()
    return figure


# %% Measure


def sight(backbone: backbones.Backbone, layer: str, picture: np.ndarray) -> float:
    """How much of a picture (height, width, 3) one place of a layer reacts to: a diameter in pixels.

    The gradient of that place's activations tells which pixels matter; the disc spreads like its square. (This is
    the effective receptive field of Luo et al., arXiv:1701.04128. The pixels that could matter at all are more.)
    """
    reading, pixels = backbone.reading([layer]), tf.constant(picture[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        activations = reading(backbone.preprocess(pixels), training=False)[layer]
        middle = activations[0, activations.shape[1] // 2, activations.shape[2] // 2]
        value = tf.reduce_sum(tf.square(middle))
    weight = np.square(tape.gradient(value, pixels)[0], dtype=np.float64).sum(axis=-1)
    weight /= weight.sum() + 1e-300
    away = [places - (weight * places).sum() for places in np.indices(weight.shape)]
    return math.sqrt(8 * sum((weight * each**2).sum() for each in away))  # a disc's mean square radius: diameter^2 / 8


EXPECTED = {  # by network, and by the data that its weights have learned from: what the default run measures
    ("inception_v3", "real"): {"loss_start": (1.0, 1.3), "loss_end": (3.4, 5.0), "deepest_to_shallowest": (5.5, 8)},
    ("cifar10_convnet", "real"): {"loss_start": (0.5, 0.75), "loss_end": (14, 24), "deepest_to_shallowest": (5.5, 8)},
    ("cifar10_convnet", "embedded"): {"loss_start": (0.9, 1.5), "loss_end": (50, 90), "deepest_to_shallowest": (4, 6)},
}


def expected(backbone: backbones.Backbone, metric: str) -> tuple:
    """The range for real data and the one for the stand-ins: here the network decides."""
    bounds = EXPECTED.get((backbone.name, backbone.source), {}).get(metric)
    return bounds, bounds


def measure(run, backbone: backbones.Backbone, watch: Watch) -> None:
    """Excitement before the first and before the last step, and what a step costs."""
    values = [value for octave in watch.octaves for value in octave] or [0.0]
    run.metric("loss_end", values[-1], "", *expected(backbone, "loss_end"))
    run.metric("loss_start", values[0], "", *expected(backbone, "loss_start"))
    run.metric("seconds_per_step", watch.seconds_per_step, "s")
    if (peak := doctor.peak_memory()) is not None:
        run.metric("peak_memory", peak, "MiB")


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The dream, octave by octave; then what each depth dreams alone."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        backbone = backbones.load(run, settings.backbone, settings.weights)
        taste, layers = TASTES[backbone.name], parse_layers(settings.layers, backbone)
        frame = datasets.Frame(settings.most_pixels, least=taste.smallest)
        photograph = datasets.photograph(run, settings.content, settings.photograph, frame)
        octaves = settings.octaves or taste.octaves
        sizes = octave_sizes(*photograph.pixels.shape[:2], octaves, settings.octave_ratio, taste.smallest)

        watch = Watch(settings.steps * octaves, frames=20)
        with run.part("dream"):
            dreams = dream(build_excitement(backbone, layers), photograph.pixels, sizes, settings, watch)
        measure(run, backbone, watch)
        title = f"{photograph.name}, and what {', '.join(layers)} of {backbone.name} see in it"
        pair = figures.picture_grid([photograph.pixels, dreams[-1]], ["before", "after"], title, columns=2)
        run.figure("dream", pair, headline=True)
        captions = [f"after {width} x {height} pixels" for height, width in sizes]
        title = "The dream begins in a small picture and grows into the large one"
        run.figure("octaves", figures.picture_grid(dreams, captions, title, columns=min(3, len(dreams))))
        if settings.steps:
            run.figure("excitement", draw_excitement(watch))
            run.gif("dreaming", watch.frames)
        with run.part("single layers"):
            depths(run, backbone, resized(np.asarray(photograph.pixels, np.float32), sizes[0]))


def depths(run, backbone: backbones.Backbone, small: np.ndarray) -> None:
    """What single layers, from the shallow to the deep, dream of a small photograph, and of nothing."""
    random = np.random.default_rng(run.config.seed)
    nothing = random.normal(128, 12, small.shape).astype(np.float32)
    settings = dataclasses.replace(run.config, steps=run.config.side_steps)
    layers, rows = TASTES[backbone.name].depths, ([], [])
    for layer in layers:
        excitement = build_excitement(backbone, {layer: 1.0})
        for row, start in zip(rows, (small, nothing), strict=True):
            row.append(dream(excitement, start, [start.shape[:2]], settings, Watch(settings.steps))[0])
    sights = [sight(backbone, layer, small) for layer in layers]
    ratio = sights[-1] / max(sights[0], 1.0)
    run.metric("deepest_to_shallowest", ratio, "times", *expected(backbone, "deepest_to_shallowest"))
    captions = [f"{layer}: sees {width:.0f} pixels" for layer, width in zip(layers, sights, strict=True)]
    captions += ["the same, from noise"] * len(layers)
    title = "What each depth of the network dreams alone: the deeper, the larger"
    run.figure("depths", figures.picture_grid(rows[0] + rows[1], captions, title, columns=len(layers)))


if __name__ == "__main__":
    main()

# What to try next
# 1. --layers mixed2=1, then --layers mixed7=1: strokes, then things. Which layer draws eyes?
# 2. --steps 60: where does the photograph end and the dream begin? And --octaves 1: how large are the figures now?
# 3. --shift 0 --tile 128: the network sees one tile at a time, always the same ones. Look for the seams.
