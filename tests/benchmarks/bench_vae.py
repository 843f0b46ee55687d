"""Seconds per training step of lesson 10's VAE against the form in which tutorials train the same network.

The tutorials' VAE has a `train_step` of its own with a gradient tape and is compiled with `run_eagerly=True`: Python
then starts every operation one by one, where a compiled graph runs as a whole. Both forms train on the same batch,
alternately, in one process, so that other load on the machine affects both equally. The batch is small: the larger it
is, the more of the time is spent on the same arithmetic, above all on a CPU (half of the ratio remains with 128).

Run:    python tests/benchmarks/bench_vae.py
"""

import sys

from benchmark import load_lesson, seconds_in_turn

import keras
import numpy as np
import tensorflow as tf

BATCH_SIZE, ROUNDS, STEPS = 32, 9, 6
LEAST_RATIO = 3.0


class TutorialVAE(keras.Model):
    """The same encoder and decoder, trained step by step in Python."""

    def __init__(self, encoder, decoder, sampling):
        super().__init__()
        self.encoder, self.decoder, self.sampling = encoder, decoder, sampling
        self.trackers = {name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl")}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def train_step(self, images):
        with tf.GradientTape() as tape:
            z_mean, z_log_var = self.encoder(images)
            logits = self.decoder(self.sampling([z_mean, z_log_var]))
            pixels = keras.losses.binary_crossentropy(images, logits, from_logits=True)
            reconstruction = tf.reduce_mean(tf.reduce_sum(pixels, axis=(1, 2)))
            kl = -0.5 * (1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var))
            kl = tf.reduce_mean(tf.reduce_sum(kl, axis=1))
            loss = reconstruction + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        for tracker, value in zip(self.metrics, (loss, reconstruction, kl), strict=True):
            tracker.update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}


def measure() -> dict:
    """Median seconds per step of both forms: name, ours, theirs, ratio (theirs / ours), unit."""
    lesson = load_lesson("10_MNIST_VAE")
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((BATCH_SIZE, 28, 28, 1), "float32")
    ours = lesson.build_vae(lesson.Config())
    lesson.compile_vae(ours, lesson.Config(), steps=1000)
    copy = lesson.build_vae(lesson.Config())
    theirs = TutorialVAE(copy.encoder, copy.decoder, copy.sampling)
    theirs.compile(optimizer=keras.optimizers.Adam(1e-3), run_eagerly=True)

    batches = tf.data.Dataset.from_tensors(tf.constant(images)).repeat()

    def steps(model):
        return lambda: model.fit(batches, steps_per_epoch=STEPS, verbose=0)

    times = seconds_in_turn({"ours": steps(ours), "theirs": steps(theirs)}, ROUNDS)
    mine, other = (times[name] / STEPS for name in ("ours", "theirs"))
    return {
        "name": f"VAE training step, batch {BATCH_SIZE}, against run_eagerly=True",
        "ours": mine,
        "theirs": other,
        "ratio": other / mine,
        "unit": "seconds per step",
    }


if __name__ == "__main__":
    result = measure()
    print("{name}: {ours:.4f} against {theirs:.4f} {unit}, {ratio:.1f} times as fast".format(**result))
    sys.exit(0 if result["ratio"] >= LEAST_RATIO else f"expected at least {LEAST_RATIO} times")
