"""17 · Neural style transfer: paint a photograph in the style of a painting.

No network is trained here. A convnet that was trained to classify photographs serves as a feature extractor, and
gradient descent changes the PIXELS of a picture x until its features meet two targets at once:

    content   the features F(x) of one deep layer match those of the photograph, position by position
    style     in several layers, the correlations between channels match those of the painting, at whatever position

The second target is the Gram matrix of a layer with features F (height, width, channels),

    G[c, d] = 1 / (height * width)  sum over all positions p of  F[p, c] F[p, d]

The sum over positions discards where things are and keeps which colours, edges and strokes occur together: texture.
Permute the positions, and G stays the same. The loss that is minimised over the pixels is

    loss(x) =  content weight * |F(x) - F(photograph)|^2 / |F(photograph)|^2
             + style weight * mean over layers of |G(x) - G(painting)|^2 / |G(painting)|^2
             + variation weight * total variation of x

What you will see: photograph, painting and result; the same pair with style weights from 0.1 to 10,000; a picture
grown from noise by the style loss alone; several paintings; the three parts of the loss as they fall.

Run:    python src/17_VGG19_style_transfer.py       about a minute on two CPU cores
        python src/17_VGG19_style_transfer.py --content my_photo.jpg --style my_painting.jpg
Makes:  output/17_VGG19_style_transfer.png and output/17_VGG19_style_transfer/
Source: Gatys, Ecker & Bethge, A Neural Algorithm of Artistic Style, arXiv:1508.06576;
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567 (the network);
        Liu & Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization, 1989
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from lessonkit import backbones, config, datasets, figures, training
from lessonkit import run as lesson
from lessonkit.datasets import Picture

import keras
import matplotlib.pyplot as plt
import numpy as np
import scipy.fft
import scipy.optimize
import tensorflow as tf
from PIL import Image
from threadpoolctl import threadpool_limits

# %% Parameters

Weight = Annotated[float, config.Range(0, 1e9)]
Network = Literal["inception_v3", "squeezenet", "vgg19", "cifar10_convnet"]


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small network and a good optimizer: a minute on a CPU instead of the hour that the tutorials' settings take."""

    steps: config.Count = 50  # evaluations of the loss and its gradient at each size; afterwards only details change
    distribute: config.Alone = "none"  # one picture
    learning_rate: Annotated[float, config.Range(1e-9, 1e9)] | None = None  # of sgd; none: 100
    content: Path | None = None  # your photograph: any picture that Pillow opens
    style: Path | None = None  # your painting; none: one in photos/ of the data folder, else the drawn swirls
    photograph: Literal["china", "flower"] = "china"  # the content if you name none
    height: Annotated[int, config.Range(48, 10_000)] = 400  # pixels; time and memory grow with its square
    most_pixels: config.Count = 1_000_000  # a picture that would have more is made smaller
    octaves: Annotated[int, config.Range(1, 6)] = 3  # sizes, each twice the last: broad strokes first, and cheaply
    backbone: Network = "inception_v3"  # cifar10_convnet: that of lesson 06
    weights: Path | None = None  # a file of them, or for cifar10_convnet the folder of a run of lesson 06; none: found
    init: Literal["recoloured", "content", "noise"] = "recoloured"  # the pixels at the start; see `recoloured`
    optimizer: Literal["lbfgs", "sgd"] = "lbfgs"  # fewest evaluations, and no learning rate to tune
    content_weight: Weight = 1.0
    style_weight: Weight = 100.0  # a tenth: little more than the painting's colours; ten thousand: little photograph
    variation_weight: Weight = 2.0  # of the total variation, against isolated bright pixels
    distance: Literal["relative", "tutorial"] = "relative"  # what the distances are divided by
    side_height: config.Count = 160  # of the pictures in the other figures
    side_steps: config.Count = 25  # evaluations at each size for each of them


TUTORIALS = {"octaves": 1, "steps": 4000, "init": "content", "optimizer": "sgd", "learning_rate": 100.0}
TUTORIALS |= {"distance": "tutorial", "content_weight": 2.5e-8, "style_weight": 1e-6, "variation_weight": 1e-6}
PRESETS = {
    "full": {"backbone": "vgg19"} | TUTORIALS,
    "smoke": {"steps": 3, "height": 96, "octaves": 2, "side_height": 64, "side_steps": 2, "data": "embedded"},
}
DECAY = (100, 0.96)  # sgd's learning rate is multiplied by 0.96 every 100 steps
STYLE_WEIGHTS = (0.1, 3.0, 100.0, 10_000.0)  # for the figure that compares them
LEAST = 48  # pixels that the networks need in both directions


@dataclasses.dataclass(frozen=True)
class Layers:
    """Which layers give content and style. Deep content layers keep what is shown, and little of how it is painted."""

    content: str
    style: tuple[str, ...]
    smooth: bool = False  # downsample by means, see Backbone.smooth: maxima and strides leave a lattice
    margin: int = 0  # pixels by which a picture is continued as in a mirror: the edge counts as much as the middle


LAYERS = {
    "inception_v3": Layers("mixed2", ("stem3", "stem5", "mixed0", "mixed2", "mixed3"), smooth=True, margin=16),
    "squeezenet": Layers("fire5_concat", ("conv1", *(f"fire{number}_concat" for number in (2, 4, 6, 8))), True, 16),
    "vgg19": Layers("block5_conv2", tuple(f"block{block}_conv1" for block in range(1, 6))),
    "cifar10_convnet": Layers("relu4", tuple(f"relu{number}" for number in range(1, 6))),
}

# %% Loss
#
# Each distance is divided by the size of its target, so that every layer and every network counts alike and a style
# weight of 100 means the same everywhere. (The tutorials' constants, which depend on the size of the picture, are
# `--preset full`.) Both targets are constants and are computed once: a step then costs one forward and one backward
# pass for one picture, where the usual tutorial sends three pictures through the network.


def gram(features: tf.Tensor) -> tf.Tensor:
    """Features (1, height, width, channels) -> (channels, channels): mean over all positions of channel products."""
    positions = tf.reshape(features, (-1, features.shape[-1]))  # (height * width, channels)
    return tf.matmul(positions, positions, transpose_a=True) / tf.cast(tf.shape(positions)[0], tf.float32)


def squared(difference: tf.Tensor) -> tf.Tensor:
    """The sum of the squares of all entries."""
    return tf.reduce_sum(tf.square(difference))


def total_variation(pictures: tf.Tensor) -> tf.Tensor:
    """Differences to the right and down, squared, added, to the power 1.25, summed over all pixels and colours."""
    corner = pictures[:, :-1, :-1]
    steps = tf.square(pictures[:, 1:, :-1] - corner) + tf.square(pictures[:, :-1, 1:] - corner)
    return tf.reduce_sum(tf.pow(steps + 1e-8, 1.25))  # the 1e-8 only spares the gradient a division by 0


class Targets(NamedTuple):
    """What a picture is compared with; the factors hold the weights and what the distances are divided by."""

    content: tf.Tensor  # features of the photograph
    grams: list[tf.Tensor]  # of the painting, one per style layer
    content_factor: tf.Tensor
    style_factors: list[tf.Tensor]
    variation_factor: tf.Tensor


class TransferLoss:
    """Content, style and variation loss of a picture, and their gradient with respect to its pixels."""

    def __init__(self, backbone: backbones.Backbone):
        self.network = backbone.name
        self.layers, self.preprocess = LAYERS[backbone.name], backbone.preprocess
        backbone = backbone.smooth() if self.layers.smooth else backbone
        self.extractor = backbone.feature_extractor({self.layers.content, *self.layers.style})  # nothing deeper

    def features(self, pictures: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Pictures (1, height, width, 3), RGB 0..255 -> features of the content layer and of each style layer."""
        sides = [self.layers.margin] * 2
        pictures = tf.pad(pictures, [[0, 0], sides, sides, [0, 0]], "REFLECT")
        features = self.extractor(self.preprocess(pictures), training=False)
        return features[self.layers.content], [features[layer] for layer in self.layers.style]

    def targets(self, content: np.ndarray, style: np.ndarray, settings: Config) -> Targets:
        """Computed once for a photograph and a painting, both uint8 (height, width, 3), of any two sizes."""
        photograph, here = self.features(as_batch(content))
        grams = [gram(features) for features in self.features(as_batch(style))[1]]
        each = settings.style_weight / len(grams)
        pixels = content.size // 3
        if settings.distance == "tutorial":  # the sums of Gatys et al., but with one constant for all layers
            counts = [float(features.shape[1] * features.shape[2]) for features in here]
            style_factors = [tf.constant(each * count**2 / (4 * 3**2 * pixels**2)) for count in counts]
            content_factor, variation_factor = settings.content_weight, settings.variation_weight
        else:
            style_factors = [each / squared(target) for target in grams]
            content_factor = settings.content_weight / squared(photograph)
            variation_factor = settings.variation_weight / (pixels * 255**2.5)
        return Targets(photograph, grams, tf.constant(content_factor), style_factors, tf.constant(variation_factor))

    def parts(self, pictures: tf.Tensor, targets: Targets) -> tf.Tensor:
        """Pictures (1, height, width, 3), RGB 0..255 -> (3,): content, style and variation, whose sum is the loss."""
        content, styles = self.features(pictures)
        style = [
            factor * squared(gram(features) - target)
            for factor, features, target in zip(targets.style_factors, styles, targets.grams, strict=True)
        ]
        content = targets.content_factor * squared(content - targets.content)
        return tf.stack([content, tf.add_n(style), targets.variation_factor * total_variation(pictures)])

    @tf.function
    def evaluate(self, pictures: tf.Tensor, targets: Targets) -> tuple[tf.Tensor, tf.Tensor]:
        """Pictures -> (parts, gradient of their sum); compiled once for each size of picture."""
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            parts = self.parts(pictures, targets)
            loss = tf.reduce_sum(parts)
        return parts, tape.gradient(loss, pictures)


# %% Optimize


class Trace:
    """Loss parts of every evaluation, and some of the pictures; shows a bar; stops at NaN."""

    def __init__(self, steps: int, frames: int = 0):
        self.parts, self.losses, self.seconds, self.pictures = [], [], [], []
        self.end = None  # the parts of the finished picture
        self.shown = set(np.geomspace(1, steps, frames).round()) if frames else set()  # most changes at the beginning
        self.bar = keras.utils.Progbar(steps, verbose=1 if sys.stdout.isatty() else 2, stateful_metrics=["loss"])
        self.begin = time.perf_counter()

    def add(self, pictures: np.ndarray, parts: np.ndarray) -> None:
        """Note an evaluation of pictures (1, height, width, 3)."""
        self.seconds.append(time.perf_counter() - self.begin)
        self.parts.append(np.asarray(parts, np.float64))
        self.losses.append(float(self.parts[-1].sum()))
        training.check_finite({"loss": self.losses[-1]}, len(self.parts) - 1, "evaluation")
        if len(self.parts) in self.shown:
            self.pictures.append(pictures[0].copy())
        if len(self.parts) <= self.bar.target:
            self.bar.update(len(self.parts), [("loss", self.losses[-1])])


def coarse_first(height: int, width: int) -> Callable:
    """A linear map of pictures (1, height, width, 3) that multiplies a wave by the square root of its length.

    The loss is curved more along fine waves than along coarse ones, and more evenly in the coordinates z with
    picture = start + map(z). The map is symmetric, so the gradient for z is the map of the gradient for the picture.
    """
    waves = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))  # cycles per pixel
    gain = (np.maximum(waves, 1 / max(height, width)) ** -0.5)[None, :, :, None].astype(np.float32)

    def amplified(values):
        spectrum = scipy.fft.rfft2(values.astype(np.float32), axes=(1, 2)) * gain
        return scipy.fft.irfft2(spectrum, s=(height, width), axes=(1, 2))

    return amplified


def minimise_by_lbfgs(evaluate: Callable, start: np.ndarray, steps: int, trace: Trace) -> np.ndarray:
    """SciPy's limited-memory BFGS: z <- z - rate * H * gradient, where H is estimated from the last five steps.

    H stands for the inverse of the matrix of second derivatives, which for 720,000 values no memory could hold. A line
    search chooses the rate, so that the loss falls with every accepted step and there is no learning rate to tune.
    """
    amplified = coarse_first(*start.shape[1:3])

    def function(vector):
        free = start + amplified(vector.reshape(start.shape))
        pictures = np.clip(free, 0, 255)  # what is beyond white or black cannot be shown, so it must not count
        parts, gradient = evaluate(tf.constant(pictures))
        trace.add(pictures, parts)
        return trace.losses[-1], amplified(gradient.numpy() * (free == pictures)).ravel().astype(np.float64)

    options = {"maxcor": 5, "maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 0.0}
    with threadpool_limits(1, user_api="blas"):  # SciPy's threads would spin on the cores that TensorFlow needs
        found = scipy.optimize.minimize(function, np.zeros(start.size), jac=True, method="L-BFGS-B", options=options)
    return start + amplified(found.x.reshape(start.shape))


def build_sgd(pixels: int, settings: Config) -> keras.Optimizer:
    """Gradient descent with a decaying rate, as in the tutorials.

    A `relative` loss is a mean, whose slope shrinks with the picture and grows with the weights; the rate undoes both.
    """
    rate = settings.learning_rate or 100.0
    if settings.distance == "relative":
        rate *= pixels / (settings.content_weight + settings.style_weight + 1e-9)
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(rate, *DECAY, staircase=True))


def minimise_by_optimizer(
    evaluate: Callable, start: np.ndarray, steps: int, trace: Trace, optimizer: keras.Optimizer
) -> np.ndarray:
    """A Keras optimizer whose only variable is the picture."""
    pictures = keras.Variable(start)
    for _ in range(steps):
        parts, gradient = evaluate(tf.convert_to_tensor(pictures.value))  # called with a variable, it compiles anew
        trace.add(pictures.numpy(), parts)
        optimizer.apply([gradient], [pictures])
    return pictures.numpy()


def minimise(
    loss: TransferLoss, targets: Targets, start: np.ndarray, settings: Config, frames: int = 0
) -> tuple[np.ndarray, Trace]:
    """Lower the loss from a picture (height, width, 3), values 0..255; returns (picture 0..255, trace)."""
    evaluate, start = functools.partial(loss.evaluate, targets=targets), as_batch(start).numpy()
    evaluate(tf.constant(start))  # compiled before the clock starts
    trace = Trace(settings.steps, frames)
    if settings.optimizer == "lbfgs":
        found = minimise_by_lbfgs(evaluate, start, settings.steps, trace)
    else:
        optimizer = build_sgd(start.size // 3, settings)
        found = minimise_by_optimizer(evaluate, start, settings.steps, trace, optimizer)
    found = np.clip(found, 0, 255)
    trace.end = loss.parts(tf.constant(found), targets).numpy().astype(np.float64)
    return found[0], trace


# %% Paint
#
# A deep feature depends on some hundred pixels, which in a small picture are a larger part of the scene. So the picture
# is painted at a small size first; what changed there is enlarged and added to the larger photograph.


def paint(
    loss: TransferLoss, content: np.ndarray, style: np.ndarray, settings: Config, start=None, frames: int = 0
) -> tuple[np.ndarray, Targets, list[Trace]]:
    """Paint `content` like `style`, both uint8 (height, width, 3), from a start picture (none: as `--init` says).

    Returns (picture, values 0..255; the targets at its size; a trace for each octave).
    """
    start = begin(content, style, settings) if start is None else start
    # From noise or without content, the photograph's details must not come back from one size to the next.
    base = np.full_like(content, 128) if settings.init == "noise" or not settings.content_weight else content
    change, traces = start - base.astype(np.float32), []
    for octave in reversed(range(settings.octaves)):
        here, there, under = (smaller(each, each.shape[0] / 2**octave) for each in (content, style, base))
        change = tf.image.resize(change, here.shape[:2], antialias=True).numpy()
        targets = loss.targets(here, there, settings)
        picture, trace = minimise(loss, targets, np.clip(under + change, 0, 255), settings, frames)
        change = picture - under
        traces.append(trace)
    return picture, targets, traces


# The simplest statistics of a painting need no network: the pixels start with its colours, and only strokes remain to
# be painted. Smooth surfaces such as a sky gain most, because they have hardly any features whose gradient could turn
# them blue.


def begin(content: np.ndarray, style: np.ndarray, settings: Config) -> np.ndarray:
    """The picture (height, width, 3) whose pixels are to change."""
    if settings.init == "recoloured":
        return recoloured(content, style)
    return content if settings.init == "content" else noise(content.shape, settings.seed)


def recoloured(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    """The photograph with the painting's mean colour and covariance of colours: float32 (height, width, 3), 0..255.

    Of all linear maps that do it, A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2) with the covariances A and B moves the
    colours least: optimal transport between two Gaussians.
    """
    here, there = (np.reshape(picture, (-1, 3)).astype(np.float64) for picture in (content, style))
    a, b = (np.cov(colours.T) + np.eye(3) for colours in (here, there))  # + 1: a grey picture has no inverse

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * values**exponent) @ vectors.T

    root, inverse = power(a, 0.5), power(a, -0.5)
    moved = (here - here.mean(axis=0)) @ (inverse @ power(root @ b @ root, 0.5) @ inverse) + there.mean(axis=0)
    return np.clip(moved, 0, 255).reshape(content.shape).astype(np.float32)


def as_batch(picture: np.ndarray) -> tf.Tensor:
    """(height, width, 3) -> float32 (1, height, width, 3)."""
    return tf.constant(np.asarray(picture, np.float32)[None])


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Coloured noise around middle grey, float32, 0..255."""
    random = keras.random.SeedGenerator(seed)
    return 127.5 + 40 * np.asarray(keras.random.truncated_normal(shape, seed=random))


def smaller(picture: np.ndarray, height: float) -> np.ndarray:
    """The same picture, uint8, this high, but with no side shorter than the networks need."""
    scale = min(1.0, max(height / picture.shape[0], LEAST / min(picture.shape[:2])))
    size = round(scale * picture.shape[1]), round(scale * picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


# %% Look


def draw_result(content: Picture, style: Picture, picture: np.ndarray) -> figures.Figure:
    """The two pictures that went in, small, beside the one that came out."""
    height = 10 * 2 / 3 * picture.shape[0] / picture.shape[1] + 0.6
    layout, options = [["content", "result"], ["style", "result"]], {"width_ratios": [1, 2], "layout": "constrained"}
    figure, axes = plt.subplot_mosaic(layout, figsize=(10, height), **options)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure.suptitle(f"{content.name} in the style of {style.name}")
    for name, shown in (("content", content.pixels), ("style", style.pixels), ("result", picture)):
        figures.show_image(axes[name], figures.as_bytes(shown))
        axes[name].set_xlabel(name, labelpad=2)
    return figure


def draw_losses(traces: Sequence[Trace]) -> figures.Figure:
    """The three parts of the loss, as they are weighted in it, over the evaluations at one size after the other."""
    figure, axes = figures.subplots(title="The three parts of the loss while the picture is painted")
    parts = np.concatenate([np.array(trace.parts) for trace in traces])
    for name, values, line in zip(("content", "style", "variation"), parts.T, ("-", "--", ":"), strict=True):
        axes.semilogy(range(1, len(parts) + 1), values, line, label=f"{name}: {values[-1]:.2g} at the end")
    for first in np.cumsum([len(trace.parts) for trace in traces])[:-1]:
        axes.axvline(first + 0.5, color="#999999", linewidth=0.8)
    axes.set(xlabel="evaluation (a vertical line: the next size, twice as high)", ylabel="part of the loss")
    axes.legend()
    return figure


def gif_frames(traces: Sequence[Trace], result: np.ndarray) -> list[np.ndarray]:
    """The pictures of all octaves and the result as frames: all brought to the size of the result, then scaled."""
    pictures = [picture for trace in traces for picture in trace.pictures]
    size = result.shape[:2]
    return [figures.as_bytes(tf.image.resize(picture, size).numpy(), width=320) for picture in [*pictures, result]]


def show(run: lesson.Run, content: Picture, style: Picture, picture: np.ndarray, traces: Sequence[Trace]) -> None:
    """The headline picture and the GIF."""
    run.figure("result", draw_result(content, style, picture), headline=True)
    run.gif("growing", gif_frames(traces, picture))


# %% Measure

EXPECTED = {  # by network and style: what the default run measures
    ("inception_v3", "starry_night.jpg"): {"loss_start": (6.5, 8.1), "loss_end": (0.28, 0.45)},
    ("cifar10_convnet", "swirls"): {"loss_start": (52, 56), "loss_end": (0.85, 1.6)},
}


def measure(
    run: lesson.Run, loss: TransferLoss, targets: Targets, style: Picture, traces: Sequence[Trace], start: np.ndarray
) -> None:
    """Loss before and after, both at full size; its parts; and what an evaluation costs there."""
    expected, last = EXPECTED.get((loss.network, style.name), {}), traces[-1]
    values = {
        "loss_end": last.end.sum(),
        "loss_start": tf.reduce_sum(loss.parts(as_batch(start), targets)),
        **{f"{part}_loss": value for part, value in zip(("content", "style", "variation"), last.end, strict=True)},
    }
    for name, value in values.items():
        run.metric(name, value, "", expected.get(name), expected.get(name))
    run.metric("evaluations", sum(len(trace.parts) for trace in traces))
    run.metric("seconds_per_evaluation", last.seconds[-1] / len(last.parts), "s")


# %% Side by side


def side_by_side(
    run: lesson.Run, loss: TransferLoss, photograph: np.ndarray, styles: Mapping[str, np.ndarray], settings: Config
) -> None:
    """The photograph in the style of each painting, with other style weights, and the style loss alone."""

    def painted(painting: np.ndarray, start: np.ndarray | None = None, **changes) -> np.ndarray:
        return paint(loss, photograph, painting, dataclasses.replace(settings, **changes), start)[0]

    row = [painted(painting) for painting in styles.values()]
    title = "The same photograph in the style of each painting above it"
    captions = [*styles, *[""] * len(styles)]
    run.figure("manners", figures.picture_grid([*styles.values(), *row], captions, title, columns=len(styles)))

    first = next(iter(styles.values()))
    row = [painted(first, style_weight=weight) for weight in STYLE_WEIGHTS]
    captions = [f"style weight {weight:,g}" for weight in STYLE_WEIGHTS]
    title = "The same pair with growing style weight"
    run.figure("style_weights", figures.picture_grid(row, captions, title, columns=2))

    start = noise(photograph.shape, settings.seed)
    row = [start, painted(first, start, content_weight=0.0), first]
    captions, title = ["start: noise", "result", "the painting"], "The style loss alone: no content"
    run.figure("style_alone", figures.picture_grid(row, captions, title, columns=3))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The picture; then, smaller, other style weights, the style alone, and other paintings."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        size = datasets.Frame(settings.most_pixels, settings.height, least=LEAST)
        content = datasets.photograph(run, settings.content, settings.photograph, size)
        styles = datasets.paintings(run, settings.style, size)
        loss = TransferLoss(backbones.load(run, settings.backbone, settings.weights))
        start = begin(content.pixels, styles[0].pixels, settings)
        show(run, content, styles[0], start, [])  # what cannot be drawn or written fails now, not after the painting

        with run.part("picture"):
            picture, targets, traces = paint(loss, content.pixels, styles[0].pixels, settings, frames=4)
        measure(run, loss, targets, styles[0], traces, start)
        show(run, content, styles[0], picture, traces)
        run.figure("losses", draw_losses(traces))

        with run.part("small pictures"):
            photograph = smaller(content.pixels, settings.side_height)
            small = {style.name: smaller(style.pixels, settings.side_height) for style in styles}
            less = dataclasses.replace(settings, octaves=min(settings.octaves, 2), steps=settings.side_steps)
            side_by_side(run, loss, photograph, small, less)


if __name__ == "__main__":
    main()

# What to try next
# 1. Your own pictures: --content me.jpg --style painting.jpg --height 500. A style with clear strokes does best; try a
#    photograph of bark, of a carpet, of a circuit board.
# 2. --init noise --style-weight 1000: the content appears only as far as its features require it. Where are its edges?
# 3. In LAYERS, take the content from the first layer instead of the middle, or the style from the first two alone.
#    What does the depth of each decide? And what does `smooth=False` do to the picture?
