"""Style transfer (lesson 17) against the form in which tutorials do it: what a step costs, and how many steps it takes.

First, seconds per evaluation of loss and gradient on VGG19 with random weights at 200 pixels height. The tutorials push
photograph, painting and result through the network together in every step; the lesson computes the two targets once.
Both are compiled, give the same loss, and run alternately, so that whatever else the machine does hits both alike.

Second, a race of optimizers for the same loss, on the trained network of lesson 06: the loss that the tutorials'
gradient descent reaches in 500 steps, and the seconds until L-BFGS and Adam get there. The learning rates are tuned in
favour of gradient descent and of Adam: of all rates each gets its best. L-BFGS has none.

Run:    python tests/benchmarks/bench_style.py
"""

import dataclasses
import functools
import sys
import types

from benchmark import load_lesson, seconds_in_turn
from lessonkit import backbones, datasets
from lessonkit.config import Config

import keras
import numpy as np
import tensorflow as tf

ROUNDS, HEIGHT, DESCENT, TUNING = 5, 200, 500, 60
LEAST = {"evaluation": 2.5, "gradient descent": 8.0, "adam": 0.5}
RATES = {"gradient descent": np.geomspace(1, 1000, 10), "adam": np.geomspace(1, 30, 5)}

lesson = load_lesson("17_VGG19_style_transfer")
quiet = types.SimpleNamespace(
    config=Config(data="embedded"), record_data=lambda *_: None, record_weights=lambda *_: None, say=lambda *_: None
)


def pictures(height: int) -> tuple[np.ndarray, np.ndarray]:
    """Photograph and painting, which need no network."""
    frame = datasets.Frame(10**6, height)
    return datasets.photograph(quiet, None, "china", frame).pixels, datasets.paintings(quiet, None, frame)[0].pixels


def tutorial_form(backbone: backbones.Backbone, content: np.ndarray, style: np.ndarray, settings):
    """Pictures -> (loss, gradient), with all three pictures through the network in every step."""
    layers = lesson.LAYERS["vgg19"]
    outputs = {layer.name: layer.output for layer in backbone.model.layers}
    extractor = keras.Model(backbone.model.input, outputs)  # every layer, as the tutorials have it
    content, style = (backbone.preprocess(lesson.as_batch(picture)) for picture in (content, style))
    size = content.shape[1] * content.shape[2]

    def gram(features):
        flat = tf.reshape(tf.transpose(features, (2, 0, 1)), (features.shape[-1], -1))
        return tf.matmul(flat, flat, transpose_b=True)

    @tf.function
    def evaluate(combination):
        with tf.GradientTape() as tape:
            tape.watch(combination)
            features = extractor(tf.concat([content, style, backbone.preprocess(combination)], axis=0), training=False)
            there = features[layers.content]
            loss = settings.content_weight * tf.reduce_sum(tf.square(there[2] - there[0]))
            for name in layers.style:
                difference = gram(features[name][1]) - gram(features[name][2])
                share = settings.style_weight / len(layers.style)
                loss += share * tf.reduce_sum(tf.square(difference)) / (4.0 * 3**2 * size**2)
            loss += settings.variation_weight * lesson.total_variation(combination)
        return loss, tape.gradient(loss, combination)

    return evaluate


def measure_evaluation() -> dict:
    """Median seconds per evaluation of both forms."""
    keras.utils.set_random_seed(0)
    network = backbones.NETWORKS["vgg19"]
    model = network.build(weights=None, include_top=False)
    backbone = backbones.Backbone("vgg19", backbones.frozen(model), network.preprocess, network.layers)
    content, style = pictures(HEIGHT)
    style = np.asarray(tf.image.resize(style, content.shape[:2]), np.uint8)  # the tutorials squeeze it to one size
    settings = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
    loss = lesson.TransferLoss(backbone)
    forms = {
        "ours": functools.partial(loss.evaluate, targets=loss.targets(content, style, settings)),
        "theirs": tutorial_form(backbone, content, style, settings),
    }
    start = lesson.as_batch(lesson.noise(content.shape, seed=0))
    losses = {name: float(tf.reduce_sum(evaluate(start)[0])) for name, evaluate in forms.items()}
    if abs(losses["ours"] / losses["theirs"] - 1) > 1e-3:
        raise SystemExit(f"the two forms do not compute the same: {losses}")
    calls = {name: lambda evaluate=evaluate: evaluate(start)[1].numpy() for name, evaluate in forms.items()}
    ours, theirs = seconds_in_turn(calls, ROUNDS).values()
    return {
        "name": f"style loss and gradient, VGG19, {HEIGHT} pixels high, against three pictures a step",
        "ours": ours,
        "theirs": theirs,
        "ratio": theirs / ours,
        "unit": "seconds per evaluation",
    }


def seconds_to(trace: lesson.Trace, loss: float) -> float:
    """Seconds until the loss was first as low as this; infinite if it never was."""
    return next((second for second, value in zip(trace.seconds, trace.losses, strict=True) if value <= loss), np.inf)


def measure_race() -> list[dict]:
    """Seconds of 500 steps of gradient descent at its best rate, and of L-BFGS and of Adam to the same loss."""
    backbone = backbones.cifar10_convnet(quiet)
    content, style = pictures(HEIGHT)
    settings = lesson.Config(optimizer="sgd", backbone="cifar10_convnet")
    loss = lesson.TransferLoss(backbone)
    targets = loss.targets(content, style, settings)
    evaluate, start = functools.partial(loss.evaluate, targets=targets), lesson.as_batch(content).numpy()
    evaluate(tf.constant(start))  # compiled before the clock starts

    def optimizer(name: str, rate: float) -> keras.Optimizer:
        if name == "adam":
            return keras.optimizers.Adam(rate)
        return lesson.build_sgd(start.size // 3, dataclasses.replace(settings, learning_rate=rate))

    def descend(name: str, rate: float, steps: int) -> lesson.Trace | None:
        trace = lesson.Trace(steps)
        try:
            lesson.minimise_by_optimizer(evaluate, start, steps, trace, optimizer(name, rate))
        except lesson.config.StudyError:  # it diverged
            return None
        return trace

    def end(trace: lesson.Trace | None) -> float:
        return trace.losses[-1] if trace else np.inf

    def best(name: str) -> lesson.Trace:
        """A rate that is best for 60 steps may diverge in 500: take the best of it and its two smaller neighbours."""
        rates = RATES[name]
        place = min(range(len(rates)), key=lambda place: end(descend(name, rates[place], TUNING)))
        tried = [descend(name, rate, DESCENT) for rate in rates[max(place - 1, 0) : place + 2]]
        return min(tried, key=end)

    traces = {name: best(name) for name in RATES}
    fast = lesson.Trace(DESCENT)
    lesson.minimise_by_lbfgs(evaluate, start, DESCENT, fast)
    slow = traces["gradient descent"]
    reached = max(min(each.losses) for each in (slow, traces["adam"], fast))
    ours = seconds_to(fast, reached)
    results = []
    for name, trace in traces.items():
        theirs = seconds_to(trace, reached)
        result = {"name": f"style transfer to a loss of {reached:.3g} by L-BFGS, against {name} at its best rate"}
        results.append(result | {"ours": ours, "theirs": theirs, "ratio": theirs / ours, "unit": "seconds"})
    return results


def measure() -> list[dict]:
    """All comparisons: name, ours, theirs, ratio (theirs / ours), unit."""
    return [measure_evaluation(), *measure_race()]


if __name__ == "__main__":
    slow = []
    for result, least in zip(measure(), LEAST.values(), strict=True):
        print("{name}: {ours:.3f} against {theirs:.3f} {unit}, {ratio:.1f} times as fast".format(**result))
        if result["ratio"] < least:
            slow.append(f"expected at least {least} times")
    sys.exit("; ".join(slow) or 0)
