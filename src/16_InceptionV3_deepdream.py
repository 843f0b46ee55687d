"""16 · DeepDream: change a photograph until a trained network responds to it more strongly.

Training changes the weights so that a picture gives the right answer. DeepDream leaves the weights alone and changes
the PICTURE, so that some layers of the network respond more strongly. With the activations A_l of layer l, two
positions at every edge left out, the loss of the pixels x is

    loss(x) = sum over layers l of  weight_l * mean of A_l(x)^2

and it is maximised: every step goes along the gradient (gradient ascent). Where a cloud slightly activates a channel
that detects eyes, an eye grows, which activates the channel more. Shallow layers respond to edges and textures; the
deeper a layer, the larger and the more like objects are the patterns that it adds.

What you will see: before and after; the dream after each octave; what each depth of the network adds by itself, to the
photograph and to noise, and how wide its receptive field is; the loss as it rises.

Run:    python src/16_InceptionV3_deepdream.py       about half a minute on two CPU cores
        python src/16_InceptionV3_deepdream.py --content my_photo.jpg --layers mixed5=1 mixed7=2
Makes:  output/16_InceptionV3_deepdream.png and output/16_InceptionV3_deepdream/
Source: Mordvintsev, Olah & Tyka, Inceptionism: Going Deeper into Neural Networks, Google Research blog, 2015;
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567;
        Chollet, Deep Learning with Python, 2nd edition, 2021, chapter 12 (the settings of `full`)
"""

import bisect
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from lessonkit import backbones, config, datasets, doctor, figures, training
from lessonkit import run as lesson
from lessonkit.datasets import Picture

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The tutorial's layers and octaves on a picture of moderate size, with gentler steps and random shifts."""

    steps: Annotated[int, config.Range(0)] = 16  # of gradient ascent in every octave; 0 returns the photograph
    distribute: config.Alone = "none"  # one picture
    learning_rate: config.Rate = 0.025  # length of a step, in halves of a pixel's range; see `normalised`
    content: Path | None = None  # your photograph: any picture that Pillow opens
    photograph: Literal["flower", "china"] = "flower"  # the one if you name none
    most_pixels: config.Count = 240_000  # a picture that has more is made smaller: time grows with it, memory hardly
    backbone: Literal["inception_v3", "vgg19", "squeezenet", "cifar10_convnet"] = "inception_v3"
    weights: Path | None = None  # a file of them, or for cifar10_convnet the folder of a run of lesson 06; none: found
    layers: tuple[str, ...] = ()  # name=weight, with spaces between them; none: see LAYERS
    octaves: config.Count | None = None  # sizes of the picture to dream at; none: see LAYERS
    octave_ratio: Annotated[float, config.Range(1.05, 4)] = 1.4  # of one octave's height to the next one's
    normalise: Literal["bands", "l2"] = "bands"  # scale each band to the same strength, or the whole to length 1
    saturation: config.Fraction = 0.4  # of a step's colours: 0 changes the brightness alone
    bounded: bool = True  # step in coordinates in which no pixel can leave 0..255; see `moved`
    shift: Annotated[int, config.Range(0)] = 64  # largest random shift in pixels; 0: none
    tile: Annotated[int, config.Range(128)] = 640  # side of the largest piece processed at once
    side_steps: config.Count = 40  # for the pictures of single layers, which have one octave only
    max_loss: Annotated[float, config.Range(0)] | None = None  # an octave ends where it is exceeded


PRESETS = {
    "full": {
        "steps": 30,
        "learning_rate": 20.0,
        "normalise": "l2",
        "saturation": 1.0,
        "bounded": False,
        "shift": 0,
        "tile": 4096,
        "max_loss": 15.0,
        "most_pixels": 1_000_000,
    },
    "smoke": {"steps": 3, "most_pixels": 40_000, "octaves": 3, "side_steps": 3, "data": "embedded"},
}


@dataclasses.dataclass(frozen=True)
class Layers:
    """Which layers of a network to maximise, and on how many sizes of the picture."""

    weights: dict[str, float]  # of the layers in the loss
    depths: tuple[str, ...]  # the layers that are maximised one at a time, from shallow to deep
    octaves: int = 3


LAYERS = {
    "inception_v3": Layers(
        {"mixed4": 1.0, "mixed5": 1.5, "mixed6": 2.0, "mixed7": 2.5}, ("mixed0", "mixed2", "mixed4", "mixed5")
    ),
    "vgg19": Layers(
        {"block4_conv3": 1.0, "block5_conv2": 2.0}, ("block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")
    ),
    "squeezenet": Layers(
        {"fire6_concat": 1.0, "fire8_concat": 2.0}, ("fire2_concat", "fire4_concat", "fire6_concat", "fire9_concat")
    ),
    "cifar10_convnet": Layers({"relu4": 1.0, "relu5": 2.0}, ("relu1", "relu2", "relu3", "relu5"), octaves=5),
}
BORDER = 2  # activations at the edge that do not count: they depend on the padding
FRAME_WIDTH = 320  # pixels of the GIF
BANDS = 4  # of detail in a gradient, each half as fine as the last


def parse_layers(words: Sequence[str], backbone: backbones.Backbone) -> dict[str, float]:
    """("mixed4=1", "mixed5=1.5") -> {"mixed4": 1.0, "mixed5": 1.5}; a name alone counts 1; none: see LAYERS."""
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
    return layers or LAYERS[backbone.name].weights


# %% Loss
#
# Activations at the edge depend on the padding of zeros and would grow a frame, so they are left out. A large picture
# is cut into tiles, so that memory does not grow with it. A tile must leave something inside the border, so none is
# smaller than `smallest_side`, whatever --tile says.


def smallest_side(backbone: backbones.Backbone, layers: Iterable[str]) -> int:
    """The shortest side of a picture, in pixels, that leaves activations inside the border of each of these layers."""
    extractor = backbone.feature_extractor(list(layers))

    def suffices(side):
        try:
            shapes = extractor.compute_output_shape((1, side, side, 3)).values()
        except ValueError:  # a layer has nothing left to work on
            return False
        return min(shape[1] for shape in shapes) > 2 * BORDER

    return bisect.bisect_left(range(1024), True, lo=1, key=suffices)


def build_loss(backbone: backbones.Backbone, layers: Mapping[str, float]) -> Callable:
    """A function: pixels (1, height, width, 3), RGB 0..255, of any size -> (loss, its gradient)."""
    extractor = backbone.feature_extractor(list(layers))  # nothing above the deepest of them is built

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32)])
    def loss(pixels):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            activations = extractor(backbone.preprocess(pixels), training=False)
            inner = {layer: activations[layer][:, BORDER:-BORDER, BORDER:-BORDER] for layer in layers}
            total = tf.add_n([weight * tf.reduce_mean(tf.square(inner[layer])) for layer, weight in layers.items()])
        return total, tape.gradient(total, pixels)

    return loss


def cuts(side: int, tile: int, smallest: int) -> np.ndarray:
    """Where to cut a side into pieces of at most `tile` pixels, or of more where they would be less than `smallest`."""
    pieces = max(1, min(math.ceil(side / tile), side // smallest))
    return np.linspace(0, side, pieces + 1).astype(int)


def in_tiles(loss: Callable, picture: np.ndarray, tile: int, smallest: int) -> tuple[float, np.ndarray]:
    """Loss and gradient of a picture (height, width, 3), piece by piece: memory does not grow with it."""
    height, width = picture.shape[:2]
    gradient, total = np.empty_like(picture), 0.0
    for top, bottom in itertools.pairwise(cuts(height, tile, smallest)):
        for left, right in itertools.pairwise(cuts(width, tile, smallest)):
            value, slope = loss(picture[None, top:bottom, left:right])
            share = (bottom - top) * (right - left) / (height * width)
            gradient[top:bottom, left:right] = share * slope[0].numpy()
            total += share * float(value)
    return total, gradient


# %% Steps
#
# The size of the gradient says little about how far to go, so every step has the same length. Its direction is
# dominated by fine grain, so it is split into bands of coarse and fine detail, each scaled to the same strength. The
# colours of a step are made paler, because at full strength they turn neon. And the pixels x move as 255 times the
# sigmoid of an unknown u: steps in u become small near black and white, so nothing is clipped and no sky burns out.


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

    A Laplacian pyramid: halve the gradient again and again; what each halving loses is a band.
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


def normalised(gradient: np.ndarray, kind: str, saturation: float = 1.0) -> np.ndarray:
    """A gradient (height, width, 3) as a direction: `bands` has a root mean square of 1, `l2` a length of 1."""
    grey = gradient.mean(axis=-1, keepdims=True)
    gradient = grey + np.float32(saturation) * (gradient - grey)
    if kind == "bands":
        return equalised(gradient)
    return gradient / np.float32(rms(gradient) * math.sqrt(gradient.size))


def moved(picture: np.ndarray, step: np.ndarray, bounded: bool) -> np.ndarray:
    """A picture (height, width, 3), 0..255, after a step; bounded: of its logits, as long as `step` at middle grey."""
    if not bounded:
        return picture + step
    share = np.clip(picture, 2, 253) / 255
    return 255 / (1 + np.exp(4 / 255 * -step) * (1 - share) / share)


def ascend(
    loss: Callable, picture: np.ndarray, random: np.random.Generator, log: Callable, settings: Config, smallest: int
) -> np.ndarray:
    """Gradient ascent from a picture (height, width, 3), 0..255; returns where it ends.

    Before each step the picture is rolled by a random number of pixels, and the gradient is rolled back. Strides and
    tiles treat some pixels differently from others; which ones is then different in every step, and no lattice grows.
    """
    for _ in range(settings.steps):
        shift = random.integers(-settings.shift, settings.shift + 1, 2)
        value, gradient = in_tiles(loss, np.roll(picture, shift, (0, 1)), settings.tile, smallest)
        step = normalised(np.roll(gradient, -shift, (0, 1)), settings.normalise, settings.saturation)
        picture = moved(picture, 127.5 * settings.learning_rate * step, settings.bounded)
        log(value, picture)
        if settings.max_loss is not None and value > settings.max_loss:
            break
    return picture


# %% Octaves
#
# A unit of a deep layer depends on some hundred pixels, whatever the size of the picture. So dream on a small version
# first, then enlarge what was dreamt and continue on the larger one: large shapes come from small pictures, their
# details from large ones. Keep the photograph and the dream d apart: at each size the network is given photograph + d.
# Enlarging blurs only d, never the photograph, and with no steps at all the photograph is returned bit for bit.


def octave_sizes(height: int, width: int, octaves: int, ratio: float, smallest: int = 1) -> list[tuple[int, int]]:
    """(height, width) of each octave, from the smallest to the picture's own."""
    sizes = [(round(height / ratio**step), round(width / ratio**step)) for step in reversed(range(octaves))]
    if min(sizes[0]) < smallest:
        raise config.StudyError(
            f"the smallest of {octaves} octaves has {sizes[0][1]} x {sizes[0][0]} pixels, and the network needs "
            f"{smallest} each way; take a larger picture, fewer --octaves or a smaller --octave-ratio"
        )
    return sizes


def dream(
    loss: Callable,
    photograph: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    settings: Config,
    log: "Log",
    smallest: int = 1,
) -> list[np.ndarray]:
    """Dream at one size after the other; returns the picture after each, float32, at the photograph's size."""
    photograph = np.asarray(photograph, np.float32)
    random = np.random.default_rng(settings.seed)
    dreamt, results = np.zeros_like(photograph), []
    for size in sizes:
        here = resized(photograph, size)  # always from the photograph, never from a dream
        dreamt = resized(dreamt, size)
        log.start_octave(photograph, here)
        dreamt = ascend(loss, here + dreamt, random, log, settings, smallest) - here
        results.append(photograph + resized(dreamt, photograph.shape[:2]))
    return results


class Log:
    """Loss and seconds of every step by octave, and a frame of the GIF from some; a bar; stops at NaN."""

    def __init__(self, total: int, frames: int = 0):
        self.octaves, self.sizes, self.frames = [], [], []
        self.every = max(1, round(total / frames)) if frames else 0
        self.bar = keras.utils.Progbar(total, verbose=1 if sys.stdout.isatty() else 2, stateful_metrics=["loss"])
        self.begin, self.steps = time.perf_counter(), 0

    def start_octave(self, photograph: np.ndarray, here: np.ndarray) -> None:
        self.photograph, self.here = photograph, here
        self.sizes.append(here.shape[:2])
        self.octaves.append([])

    def __call__(self, value: float, picture: np.ndarray) -> None:
        training.check_finite({"loss": value}, self.steps, "step")
        self.steps += 1
        self.octaves[-1].append(value)
        self.bar.update(self.steps, [("loss", value)])
        if self.every and self.steps % self.every == 0:
            dreamt = resized(picture - self.here, self.photograph.shape[:2])
            self.frames.append(figures.as_bytes(self.photograph + dreamt, width=FRAME_WIDTH))

    @property
    def seconds_per_step(self) -> float:
        return (time.perf_counter() - self.begin) / max(self.steps, 1)


# %% Look


def draw_loss(log: Log) -> figures.Figure:
    """Loss over the steps, one octave after the other."""
    figure, axes = figures.subplots(title="The loss over the steps, at one size of the picture after the other")
    begin = 1
    for (height, width), values, color in zip(log.sizes, log.octaves, itertools.cycle(figures.COLORS)):
        label = f"{width} x {height} pixels: {values[0]:.2g} to {values[-1]:.2g}"
        axes.plot(range(begin, begin + len(values)), values, ".-", color=color, label=label)
        begin += len(values)
    axes.set_xlabel("step of gradient ascent")
    axes.set_ylabel("loss (it is maximised)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)  # above: it hides no line
    return figure


def show(run: lesson.Run, photograph: Picture, dreams: Sequence[np.ndarray], sizes: Sequence, layers, frames) -> None:
    """The headline picture, the dream after each octave, and the GIF."""
    title = f"{photograph.name} before and after maximising {', '.join(layers)}"
    pair = figures.picture_grid([photograph.pixels, dreams[-1]], ["before", "after"], title, columns=2)
    run.figure("dream", pair, headline=True)
    captions = [f"after {width} x {height} pixels" for height, width in sizes]
    title = "The dream after each octave, from the smallest picture to the largest"
    run.figure("octaves", figures.picture_grid(dreams, captions, title, columns=min(3, len(dreams))))
    run.gif("dreaming", [figures.as_bytes(photograph.pixels, width=FRAME_WIDTH), *frames])


# %% Measure


def receptive_field(backbone: backbones.Backbone, layer: str, picture: np.ndarray) -> float:
    """How much of a picture (height, width, 3) one position of a layer depends on: a diameter in pixels.

    The squared gradient of that position's activations weighs the pixels; this is the diameter of a disc with the same
    spread. (The effective receptive field of Luo et al., arXiv:1701.04128. The pixels that could matter are more.)
    """
    extractor, pixels = backbone.feature_extractor([layer]), tf.constant(picture[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        activations = extractor(backbone.preprocess(pixels), training=False)[layer]
        middle = activations[0, activations.shape[1] // 2, activations.shape[2] // 2]
        value = tf.reduce_sum(tf.square(middle))
    weight = np.square(tape.gradient(value, pixels)[0], dtype=np.float64).sum(axis=-1)
    weight /= weight.sum() + 1e-300
    away = [places - (weight * places).sum() for places in np.indices(weight.shape)]
    return math.sqrt(8 * sum((weight * each**2).sum() for each in away))  # a disc's mean square radius: diameter^2 / 8


def clipped_share(picture: np.ndarray) -> float:
    """Share of the values of a picture, 0..255, that are shown as pure black or white (in their colour)."""
    return float(np.mean((picture < 0.5) | (picture >= 254.5)))


EXPECTED = {  # by network: what the default run measures
    "inception_v3": {
        "loss_start": (1.3, 1.65),
        "loss_end": (2.6, 4.3),
        "clipped_share": (0, 0.02),
        "deepest_to_shallowest": (3.2, 4.5),
    },
    "cifar10_convnet": {"loss_start": (0.6, 0.85), "clipped_share": (0, 0.02), "deepest_to_shallowest": (6.5, 9)},
}


def report(run: lesson.Run, backbone: backbones.Backbone, name: str, value: float, unit: str = "") -> None:
    """A metric with its range, which depends on the network and not on the picture: it is real in any case."""
    bounds = EXPECTED.get(backbone.name, {}).get(name)
    run.metric(name, value, unit, bounds, bounds)


def measure(run: lesson.Run, backbone: backbones.Backbone, log: Log, before: np.ndarray, after: np.ndarray) -> None:
    """Loss before the first and before the last step, values lost at black and white, and what a step costs."""
    values = [value for octave in log.octaves for value in octave] or [0.0]
    report(run, backbone, "loss_end", values[-1])
    report(run, backbone, "loss_start", values[0])
    report(run, backbone, "clipped_share", clipped_share(after), "fraction")
    run.metric("clipped_share_before", clipped_share(before), "fraction")
    run.metric("seconds_per_step", log.seconds_per_step, "s")
    if (peak := doctor.peak_memory()) is not None:
        run.metric("peak_memory", peak, "MiB")


# %% Single layers


def depths(run: lesson.Run, backbone: backbones.Backbone, small: np.ndarray) -> None:
    """What single layers, from shallow to deep, add to a small photograph and to noise."""
    random = np.random.default_rng(run.config.seed)
    noise = random.normal(128, 12, small.shape).astype(np.float32)
    settings = dataclasses.replace(run.config, steps=run.config.side_steps)
    layers, rows = LAYERS[backbone.name].depths, ([], [])
    for layer in layers:
        loss, smallest = build_loss(backbone, {layer: 1.0}), smallest_side(backbone, [layer])
        for row, start in zip(rows, (small, noise), strict=True):
            row.append(dream(loss, start, [start.shape[:2]], settings, Log(settings.steps), smallest)[0])
    fields = [receptive_field(backbone, layer, small) for layer in layers]
    report(run, backbone, "deepest_to_shallowest", fields[-1] / max(fields[0], 1.0), "times")
    captions = [f"{layer}: receptive field {width:.0f} pixels" for layer, width in zip(layers, fields, strict=True)]
    captions += ["the same, from noise"] * len(layers)
    title = "One layer maximised at a time, from shallow to deep: on the photograph, and on noise"
    run.figure("depths", figures.picture_grid(rows[0] + rows[1], captions, title, columns=len(layers)))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The dream, octave by octave; then each depth of the network by itself."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        backbone = backbones.load(run, settings.backbone, settings.weights)
        suited, layers = LAYERS[backbone.name], parse_layers(settings.layers, backbone)
        smallest = smallest_side(backbone, [*layers, *suited.depths])
        frame = datasets.Frame(settings.most_pixels, least=smallest)
        photograph = datasets.photograph(run, settings.content, settings.photograph, frame)
        octaves = settings.octaves or suited.octaves
        sizes = octave_sizes(*photograph.pixels.shape[:2], octaves, settings.octave_ratio, smallest)
        show(run, photograph, [photograph.pixels], sizes[-1:], layers, [])  # what cannot be drawn or written fails now

        log = Log(settings.steps * octaves, frames=10)
        with run.part("dream"):
            dreams = dream(build_loss(backbone, layers), photograph.pixels, sizes, settings, log, smallest)
        measure(run, backbone, log, photograph.pixels, dreams[-1])
        show(run, photograph, dreams, sizes, layers, log.frames)
        if settings.steps:
            run.figure("loss", draw_loss(log))
        with run.part("single layers"):
            depths(run, backbone, resized(np.asarray(photograph.pixels, np.float32), sizes[0]))


if __name__ == "__main__":
    main()

# What to try next
# 1. --layers mixed2=1, then --layers mixed7=1: textures, then objects. Which layer adds eyes?
# 2. --steps 60: where does the photograph end and the dream begin? And --octaves 1: how large are the shapes now?
# 3. --shift 0 --tile 128: every tile is processed by itself, and the cuts are always the same. Look for the seams.
# 4. --photograph china --saturation 1 --no-bounded: what does the pale sky become without the two?
