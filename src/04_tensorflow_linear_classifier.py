"""04 · TensorFlow from the ground up: tensors, variables, the gradient tape, and a linear classifier made of them.

Keras hides three things, and this lesson takes them out of the box. A *tensor* is an array that never changes; what
training changes lives in a *variable*. A *gradient tape* records what is computed from variables and plays it backwards,
which by the chain rule gives the derivative of the result with respect to each of them: exactly, up to rounding, and
for about the price of computing the result twice.

That is all one needs to train. The model here is the smallest there is, a weighted sum of two coordinates,

    prediction = w1 x1 + w2 x2 + b        targets 0 and 1, loss = mean of (target - prediction)^2

and a training step is one line of mathematics: every variable moves a little against its gradient,

    w <- w - rate * d loss / d w          b <- b - rate * d loss / d b

A point counts as class 1 where the prediction is above 1/2. The border is a straight line:

    w1 x1 + w2 x2 + b = 1/2      that is      x2 = -w1/w2 x1 + (1/2 - b)/w2

What you will see: this line turning between two clouds of points (as a GIF), the loss falling towards the best value that
any line can reach, the valley it falls through (why a rate of 0.1 works and 0.15 diverges), and how the tape's
gradient compares with the difference quotient of the schoolbook.

Run:    python src/04_tensorflow_linear_classifier.py       five seconds
Makes:  output/04_tensorflow_linear_classifier.png and output/04_tensorflow_linear_classifier/
Source: Chollet, Deep Learning with Python, 2nd edition, 2021, chapter 3 (the task);
        Baydin et al., Automatic Differentiation in Machine Learning: a Survey, arXiv:1502.05767 (the tape)
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from lessonkit import config, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Every step looks at all points at once, so there is no batch size and an epoch is one step."""

    steps: config.Count = 40  # the loss still falls a little afterwards; the line hardly turns any more
    learning_rate: config.Rate = 0.1  # two thirds of the largest rate that does not diverge: see `largest_stable_rate`
    points: config.Count = 1000  # in each cloud, for training; as many again for the test
    device: config.Device = "cpu"  # three parameters


PRESETS = {"smoke": {"steps": 5, "limit": 200, "data": "embedded"}}

# %% Tensors and variables


def tensor_notes() -> str:
    """What tensors and variables do, and what they refuse: expressions and their values, computed here and now."""
    constant = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    try:
        constant[0, 0] = 0.0
    except TypeError as problem:
        refusal = f"TypeError: {problem}"
    variable = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    notes = [
        ("constant = tf.constant([[1.0, 2.0], [3.0, 4.0]])", constant),
        ("constant[0, 0] = 0.0", refusal),
        ("variable = tf.Variable(constant)", variable),
        ("variable.assign(tf.zeros((2, 2)))", variable.assign(tf.zeros((2, 2)))),
        ("variable.assign_add(tf.ones((2, 2)))", variable.assign_add(tf.ones((2, 2)))),
        ("variable[0, 0].assign(5.0)", variable[0, 0].assign(5.0)),
        ("constant @ variable", constant @ variable),
        ("constant * variable", constant * variable),
    ]
    return "".join(f">>> {code}\n{getattr(value, 'numpy', lambda value=value: value)()}\n\n" for code, value in notes)


# %% The tape
