"""17 · Neural style transfer: paint a photograph in the manner of a painting.

Nothing is trained here. A convnet that has learned to name things is used as an instrument, and what gradient descent
changes are the PIXELS, until the instrument reads two things at once:

    content   the features F(x) of one deep layer should be those of the photograph, place by place
    style     in several layers, how often channels fire TOGETHER should be as in the painting, wherever they fire

The second is measured by the Gram matrix of a layer with features F (height, width, channels),

    G[c, d] = 1 / (height * width)  sum over all places p of  F[p, c] F[p, d]

The sum over places forgets where things are and keeps which colours, edges and strokes come together: texture. Shuffle
the places, and G stays the same. The loss that the pixels x descend is

    loss(x) =  content weight * |F(x) - F(photograph)|^2 / |F(photograph)|^2
             + style weight * mean over layers of |G(x) - G(painting)|^2 / |G(painting)|^2
             + variation weight * roughness of x from pixel to pixel

Each distance is divided by the size of what it is measured against, so all layers and all networks have the same say
and a weight of 10 means the same everywhere. (The tutorials' constants, which depend on the size of the picture, are
`--preset full`.) Both targets are constants and are computed once: a step then costs one picture through the network
and back, where the usual tutorial sends three. The painting's colours need no network: the pixels begin with them.

What you will see: photograph, painting and result; the painting in the photograph by degrees; the style alone grown
from noise; several paintings; and why this lesson minimises by L-BFGS: it uses the last five steps to guess the
curvature of the loss, and needs a small part of the steps of gradient descent.

Run:    python src/17_VGG19_style_transfer.py       about one minute on two CPU cores
        python src/17_VGG19_style_transfer.py --content my_photo.jpg --style my_painting.jpg
Makes:  output/17_VGG19_style_transfer.png and output/17_VGG19_style_transfer/
Source: Gatys, Ecker & Bethge, A Neural Algorithm of Artistic Style, arXiv:1508.06576;
        Iandola et al., SqueezeNet, arXiv:1602.07360 (the network of the default run);
        Liu & Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization, 1989
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from lessonkit import backbones, config, datasets, doctor, figures, training
from lessonkit import run as lesson

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
Optimizer = Literal["lbfgs", "adam", "sgd"]


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small network and a good optimizer: what took the tutorials an hour on a CPU takes half a minute."""

    steps: config.Count = 60  # evaluations of the loss and its gradient at each size; afterwards only details change
    distribute: config.Alone = "none"  # one picture
    learning_rate: Annotated[float, config.Range(1e-9, 1e9)] | None = None  # of adam and sgd; none: see RATES
    content: Path | None = None  # your photograph: any picture that Pillow opens
    style: Path | None = None  # your painting; none: one in photos/ of the data folder, else the drawn swirls
    photograph: Literal["china", "flower"] = "china"  # the content if you name none
    height: Annotated[int, config.Range(48, 10_000)] = 400  # pixels; time and memory grow with its square
    most_pixels: config.Count = 1_000_000  # a picture that would have more is made smaller
    octaves: Annotated[int, config.Range(1, 6)] = 3  # sizes, each twice the last: broad strokes first, and cheaply
    backbone: Literal["squeezenet", "vgg19", "cifar10_convnet"] = "squeezenet"  # the last one is lesson 06's
    weights: Path | None = None  # a file with the backbone's weights; none: data folder, Keras' cache, download
    init: Literal["recoloured", "content", "noise"] = "recoloured"  # what the pixels are at first; see `recoloured`
    optimizer: Optimizer = "lbfgs"  # fewest evaluations, and no rate to find: see the race
    content_weight: Weight = 1.0
    style_weight: Weight = 100.0  # one: a hint of the painting; a thousand: hardly anything but the painting
    variation_weight: Weight = 2.0  # against single bright pixels, which the network hardly sees
    distance: Literal["relative", "tutorial"] = "relative"  # what the distances are divided by
    side_height: config.Count = 200  # of the pictures in the other figures
    side_steps: config.Count = 60  # evaluations for each of them


TUTORIALS = {"octaves": 1, "steps": 4000, "init": "content", "optimizer": "sgd", "learning_rate": 100.0}
TUTORIALS |= {"distance": "tutorial", "content_weight": 2.5e-8, "style_weight": 1e-6, "variation_weight": 1e-6}
PRESETS = {
    "full": {"backbone": "vgg19"} | TUTORIALS,
    "smoke": {"steps": 3, "height": 96, "octaves": 2, "side_height": 64, "side_steps": 3, "data": "embedded"},
}
DECAY = (100, 0.96)  # sgd's learning rate is multiplied by 0.96 every 100 steps
RATES = {"adam": 10.0, "sgd": 100.0}  # adam's in levels of 255; sgd's for a `relative` loss, see build_optimizer
STYLE_FACTORS = (0.01, 0.1, 1.0, 10.0)  # times the style weight, for the row of pictures
LEAST = 48  # pixels that the network needs in both directions


@dataclasses.dataclass(frozen=True)
class Layers:
    """Where content and style are read. Deep content layers keep what is shown, and let go of how it is painted."""

    content: str
    style: tuple[str, ...]
    average: bool = False  # pool by the mean, which passes its gradient to all pixels; a maximum, to one: that is noise


LAYERS = {
    "squeezenet": Layers("fire5_concat", ("conv1", *(f"fire{number}_concat" for number in (2, 4, 6, 8))), average=True),
    "vgg19": Layers("block5_conv2", tuple(f"block{block}_conv1" for block in range(1, 6))),
    "cifar10_convnet": Layers("relu4", tuple(f"relu{number}" for number in range(1, 6))),
}

# %% Loss


def gram(features: tf.Tensor) -> tf.Tensor:
    """Features (1, height, width, channels) -> (channels, channels): mean over all places of the channels' products."""
    places = tf.reshape(features, (-1, features.shape[-1]))  # (height * width, channels)
    return tf.matmul(places, places, transpose_a=True) / tf.cast(tf.shape(places)[0], tf.float32)


def squared(difference: tf.Tensor) -> tf.Tensor:
    """The sum of the squares of all entries."""
    return tf.reduce_sum(tf.square(difference))


def roughness(pictures: tf.Tensor) -> tf.Tensor:
    """Total variation: steps to the right and down, squared, added, to the power 1.25, summed over all pixels."""
    corner = pictures[:, :-1, :-1]
    steps = tf.square(pictures[:, 1:, :-1] - corner) + tf.square(pictures[:, :-1, 1:] - corner)
    return tf.reduce_sum(tf.pow(steps + 1e-8, 1.25))  # the 1e-8 only spares the gradient a division by 0


class Targets(NamedTuple):
    """What a picture is compared with; the factors hold the weights and what the distances are divided by."""

    content: tf.Tensor  # features of the photograph
    grams: list[tf.Tensor]  # of the painting, one for each style layer
    content_factor: tf.Tensor
    style_factors: list[tf.Tensor]
    variation_factor: tf.Tensor


class Critic:
    """Says how far a picture is from a photograph's content and a painting's style, and which way is better."""

    def __init__(self, backbone: backbones.Backbone):
        self.network = backbone.name, backbone.source
        self.layers, self.preprocess = LAYERS[backbone.name], backbone.preprocess
        backbone = backbone.averaged() if self.layers.average else backbone
        self.reading = backbone.reading({self.layers.content, *self.layers.style})  # nothing deeper is built

    def read(self, pictures: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Pictures (1, height, width, 3), RGB 0..255 -> features of the content layer and of each style layer."""
        features = self.reading(self.preprocess(pictures), training=False)
        return features[self.layers.content], [features[layer] for layer in self.layers.style]

    def targets(self, content: np.ndarray, style: np.ndarray, settings: Config) -> Targets:
        """Computed once for a photograph and a painting, both uint8 (height, width, 3), of any two sizes."""
        photograph, here = self.read(as_batch(content))
        grams = [gram(features) for features in self.read(as_batch(style))[1]]
        each = settings.style_weight / len(grams)
        pixels = content.size // 3
        if settings.distance == "tutorial":  # the sums of Gatys et al., but with one constant for all layers
            places = [float(features.shape[1] * features.shape[2]) for features in here]
            style_factors = [tf.constant(each * count**2 / (4 * 3**2 * pixels**2)) for count in places]
            content_factor, variation_factor = settings.content_weight, settings.variation_weight
        else:
            style_factors = [each / squared(target) for target in grams]
            content_factor = settings.content_weight / squared(photograph)
            variation_factor = settings.variation_weight / (pixels * 255**2.5)
        return Targets(photograph, grams, tf.constant(content_factor), style_factors, tf.constant(variation_factor))

    def parts(self, pictures: tf.Tensor, targets: Targets) -> tf.Tensor:
        """Pictures (1, height, width, 3), RGB 0..255 -> (3,): content, style and variation, whose sum is the loss."""
        content, styles = self.read(pictures)
        style = [
            factor * squared(gram(features) - target)
            for factor, features, target in zip(targets.style_factors, styles, targets.grams, strict=True)
        ]
        content = targets.content_factor * squared(content - targets.content)
        return tf.stack([content, tf.add_n(style), targets.variation_factor * roughness(pictures)])

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
    """Seconds and loss parts of every evaluation, and some of the pictures, as frames; shows a bar; stops at NaN."""

    def __init__(self, steps: int, frames: int = 0):
        self.seconds, self.parts, self.losses, self.accepted, self.frames = [], [], [], [], []
        self.end = None  # the parts of the finished picture
        self.shown = set(np.geomspace(1, steps, frames).round()) if frames else set()  # much happens in the beginning
        self.bar = keras.utils.Progbar(steps, verbose=1 if sys.stdout.isatty() else 2, stateful_metrics=["loss"])
        self.begin = time.perf_counter()

    def add(self, pictures: np.ndarray, parts: np.ndarray) -> None:
        """Note an evaluation of pictures (1, height, width, 3)."""
        self.seconds.append(time.perf_counter() - self.begin)
        self.parts.append(np.asarray(parts, np.float64))
        self.losses.append(float(self.parts[-1].sum()))
        training.check_finite({"loss": self.losses[-1]}, len(self.parts) - 1, "evaluation")
        if len(self.parts) in self.shown:
            self.frames.append(figures.as_bytes(pictures[0], width=320))
        if len(self.parts) <= self.bar.target:
            self.bar.update(len(self.parts), [("loss", self.losses[-1])])

    def accept(self, *_) -> None:
        """The last evaluation was not only a trial of a line search: the picture is there now."""
        self.accepted.append(len(self.parts) - 1)

    @property
    def path(self) -> tuple[list[float], list[float]]:
        """Seconds and losses of the accepted evaluations."""
        return [self.seconds[place] for place in self.accepted], [self.losses[place] for place in self.accepted]

    def seconds_to(self, loss: float) -> float:
        """Seconds until the loss was first as low as this; infinite if it never was."""
        return next((second for second, value in zip(*self.path, strict=True) if value <= loss), np.inf)


def coarse_first(height: int, width: int) -> Callable:
    """A linear map of pictures (1, height, width, 3) that amplifies a wave by the square root of its length.

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
    """SciPy's limited-memory BFGS: z <- z - rate * H * gradient, where H is guessed from the last five steps.

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
    with threadpool_limits(1, user_api="blas"):  # SciPy's threads would spin while TensorFlow wants the cores
        found = scipy.optimize.minimize(
            function, np.zeros(start.size), jac=True, method="L-BFGS-B", callback=trace.accept, options=options
        )
    return start + amplified(found.x.reshape(start.shape))


def build_optimizer(name: Optimizer, pixels: int, settings: Config) -> keras.Optimizer:
    """Adam, or gradient descent whose rate falls.

    A `relative` loss is a mean, whose slope shrinks with the picture and grows with the weights; the rate undoes both.
    """
    rate = (settings.learning_rate if name == settings.optimizer else None) or RATES[name]
    if name == "adam":
        return keras.optimizers.Adam(float(rate))
    if settings.distance == "relative":
        rate *= pixels / (settings.content_weight + settings.style_weight + 1e-9)
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(rate, *DECAY, staircase=True))


def minimise(
    critic: Critic, targets: Targets, start: np.ndarray, steps: int, settings: Config, name: Optimizer, frames: int = 0
) -> tuple[np.ndarray, Trace]:
    """Lower the loss from a picture (height, width, 3), values 0..255; returns (picture 0..255, trace)."""
    evaluate, start = functools.partial(critic.evaluate, targets=targets), as_batch(start).numpy()
    evaluate(tf.constant(start))  # compiled before the clock starts
    trace = Trace(steps, frames)
    if name == "lbfgs":
        found = minimise_by_lbfgs(evaluate, start, steps, trace)
    else:
        optimizer, pictures = build_optimizer(name, start.size // 3, settings), keras.Variable(start)
        for _ in range(steps):
            parts, gradient = evaluate(tf.convert_to_tensor(pictures.value))  # a variable would be compiled anew
            trace.add(pictures.numpy(), parts)
            trace.accept()
            optimizer.apply([gradient], [pictures])
        found = pictures.numpy()
    found = np.clip(found, 0, 255)  # only now: SciPy takes twice as long with bounds on every pixel
    trace.end = critic.parts(tf.constant(found), targets).numpy().astype(np.float64)
    return found[0], trace


# %% Paint


def paint(critic: Critic, content: np.ndarray, style: np.ndarray, settings: Config, start=None, frames: int = 0):
    """Paint `content` like `style`, both uint8 (height, width, 3), from a start picture (none: as `--init` says).

    A deep feature sees some hundred pixels of the picture, so in a small picture it sees more of the world. The picture
    is painted at a small size first; what changed there is enlarged and added to the larger photograph.

    Returns (picture, values 0..255; the targets at its size; a trace for each octave).
    """
    change, traces = (begin(content, style, settings) if start is None else start) - content.astype(np.float32), []
    for octave in reversed(range(settings.octaves)):
        here, there = (smaller(picture, picture.shape[0] / 2**octave) for picture in (content, style))
        change = tf.image.resize(change, here.shape[:2], antialias=True).numpy()
        targets = critic.targets(here, there, settings)
        first = np.clip(here + change, 0, 255)
        picture, trace = minimise(critic, targets, first, settings.steps, settings, settings.optimizer, frames)
        change = picture - here
        traces.append(trace)
    return picture, targets, traces


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
    """The same picture, uint8, this high, but with no side shorter than the network needs."""
    scale = min(1.0, max(height / picture.shape[0], LEAST / min(picture.shape[:2])))
    size = round(scale * picture.shape[1]), round(scale * picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


# %% Look


def draw_result(content, style, picture: np.ndarray, traces: Sequence[Trace]) -> figures.Figure:
    """The two pictures that went in, small, beside the one that came out."""
    height = 10 * 2 / 3 * picture.shape[0] / picture.shape[1] + 0.6
    layout, options = [["content", "result"], ["style", "result"]], {"width_ratios": [1, 2], "layout": "constrained"}
    figure, axes = plt.subplot_mosaic(layout, figsize=(10, height), **options)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    evaluations, seconds = sum(len(each.parts) for each in traces), sum(each.seconds[-1] for each in traces)
    figure.suptitle(f"{content.name} in the manner of {style.name}: {evaluations} evaluations, {seconds:.0f} s")
    for name, shown in (("content", content.pixels), ("style", style.pixels), ("result", picture)):
        figures.show_image(axes[name], figures.as_bytes(shown))
        axes[name].set_xlabel(name, labelpad=2)
    return figure


def draw_race(traces: Mapping[Optimizer, Trace]) -> figures.Figure:
    """Loss against seconds for the optimizers, from the same picture."""
    figure, axes = figures.subplots(title="The same loss from the same picture: three ways down")
    for name, trace in traces.items():
        axes.loglog(*trace.path, label=f"{name}: {trace.losses[-1]:.3g} after {len(trace.parts)} evaluations")
    axes.set(xlabel="seconds", ylabel="loss")
    axes.legend()
    return figure


# %% Measure

EXPECTED = {  # by network, the data that its weights have learned from, and style: what the default run measures
    ("squeezenet", "real", "starry_night.jpg"): {"loss_start": (36, 39), "loss_end": (1.1, 1.8)},
    ("cifar10_convnet", "real", "swirls"): {"loss_start": (52, 56), "loss_end": (0.85, 1.4)},
    ("cifar10_convnet", "embedded", "swirls"): {"loss_start": (43, 53), "loss_end": (0.85, 1.4)},
}


def measure(run, critic: Critic, targets: Targets, style, traces: Sequence[Trace], start: np.ndarray) -> None:
    """Loss before and after, both at full size; its parts; and what an evaluation costs there."""
    expected, last = EXPECTED.get((*critic.network, style.name), {}), traces[-1]
    values = {
        "loss_end": last.end.sum(),
        "loss_start": tf.reduce_sum(critic.parts(as_batch(start), targets)),
        **{f"{part}_loss": value for part, value in zip(("content", "style", "variation"), last.end, strict=True)},
    }
    for name, value in values.items():
        run.metric(name, value, "", expected.get(name), expected.get(name))
    run.metric("evaluations", sum(len(trace.parts) for trace in traces))
    run.metric("seconds_per_evaluation", last.seconds[-1] / len(last.parts), "s")
    if (peak := doctor.peak_memory()) is not None:
        run.metric("peak_memory", peak, "MiB")


# %% Side by side


def style_weights(run, critic: Critic, photograph: np.ndarray, painting: np.ndarray, settings: Config) -> None:
    """The same pair with more and more style."""
    pictures = {}
    for weight in (factor * settings.style_weight for factor in STYLE_FACTORS):
        changed = dataclasses.replace(settings, style_weight=weight)
        pictures[f"style weight {weight:g}"] = paint(critic, photograph, painting, changed)[0]
    title = "From a hint of the painting to hardly anything else"
    run.figure("style_weights", figures.picture_grid(list(pictures.values()), list(pictures), title, columns=2))


def style_alone(run, critic: Critic, photograph: np.ndarray, painting: np.ndarray, settings: Config) -> None:
    """Without content, from noise: what the Gram matrices keep of the painting."""
    start = noise(photograph.shape, settings.seed)
    alone = paint(critic, photograph, painting, dataclasses.replace(settings, content_weight=0.0), start)[0]
    captions, title = ["start: noise", "result", "the painting"], "The style alone: its strokes, colours and no things"
    run.figure("style_alone", figures.picture_grid([start, alone, painting], captions, title, columns=3))


def manners(run, critic: Critic, photograph: np.ndarray, styles: Mapping[str, np.ndarray], settings: Config) -> None:
    """One photograph like each of the paintings."""
    row = [paint(critic, photograph, style, settings)[0] for style in styles.values()]
    title = "The same photograph in the manner of each painting above it"
    captions = [*styles, *[""] * len(styles)]
    run.figure("manners", figures.picture_grid([*styles.values(), *row], captions, title, columns=len(styles)))


def race(run, critic: Critic, photograph: np.ndarray, painting: np.ndarray, settings: Config) -> None:
    """The three optimizers on the same loss from the same start; one that diverges is left out."""
    targets, start, traces = critic.targets(photograph, painting, settings), begin(photograph, painting, settings), {}
    for name, times in {"lbfgs": 1, "adam": 3, "sgd": 8}.items():  # a step of the others is cheaper, and does less
        try:
            traces[name] = minimise(critic, targets, start, times * settings.steps, settings, name)[1]
        except config.TrainingError as problem:
            run.say(f"{name}: {problem}")
    if "sgd" in traces:
        slow = traces["sgd"]
        run.metric("sooner_than_sgd", slow.seconds[-1] / traces["lbfgs"].seconds_to(slow.path[1][-1]), "times")
    run.figure("race", draw_race(traces))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The picture; then, smaller, what the style weight does, the style alone, other paintings, and the race."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        size = datasets.Frame(settings.most_pixels, settings.height, least=LEAST)
        content = datasets.photograph(run, settings.content, settings.photograph, size)
        styles = datasets.paintings(run, settings.style, size)
        critic = Critic(backbones.load(run, settings.backbone, settings.weights))

        with run.part("picture"):
            picture, targets, traces = paint(critic, content.pixels, styles[0].pixels, settings, frames=8)
        measure(run, critic, targets, styles[0], traces, begin(content.pixels, styles[0].pixels, settings))
        run.figure("result", draw_result(content, styles[0], picture, traces), headline=True)
        run.gif("growing", [frame for trace in traces for frame in trace.frames])

        with run.part("small pictures"):
            photograph = smaller(content.pixels, settings.side_height)
            small = {style.name: smaller(style.pixels, settings.side_height) for style in styles}
            less = dataclasses.replace(settings, octaves=1, steps=settings.side_steps)
            manners(run, critic, photograph, small, less)
            for look in (style_weights, style_alone, race):
                look(run, critic, photograph, small[styles[0].name], less)


if __name__ == "__main__":
    main()

# What to try next
# 1. Your own pictures: --content me.jpg --style painting.jpg --height 500. A style with clear strokes does best; try a
#    photograph of bark, of a carpet, of a circuit board.
# 2. --init noise --style-weight 1000: the content appears only as far as its features ask for it. Where are its edges?
# 3. In LAYERS, read the content from the first layer instead of the middle, or the style from the first two alone.
#    What does the depth of each decide? And what does `average=False` do to the picture?
