"""23 · An energy model of MNIST: digits appear out of noise by going downhill.

An energy model has one output: a number E(x), the energy of the picture x. Low energy means likely:

    p(x) = exp(-E(x)) / Z        Z = integral of exp(-E(x)) dx

Any network may be E. It is neither inverted, as in a flow, nor bounded, as in a VAE. The price is Z, which nobody can
compute. The training needs only the gradient of the log-likelihood, and in that Z becomes a mean over samples:

    - d log p(x) / d weights  =  dE(x) / d weights  -  mean over samples x~ of the model of dE(x~) / d weights

So a training step lowers the energy of real digits and raises the energy of the model's own samples (contrastive
divergence). Once the two cannot be told apart, the terms cancel. It resembles a GAN without a generator.

Samples come from Langevin dynamics: a small step down the slope of the energy, some Gaussian noise, again and again:

    x  <-  x - step dE/dx + noise z        z ~ N(0, I)

With noise^2 = 2 step and small steps its stationary distribution is p. A chain from pure noise to a digit takes some
hundred steps. So 10,000 samples of earlier training steps are kept in a buffer: each training step takes a few, walks
on by 20 steps, and puts them back; 5 % of them begin again as noise.

What you will see: digits that appear out of noise; what the energy says of pictures that are no digits, beside a VAE's
loss and a flow's likelihood; and spoiled digits that are restored by the same walk. The pictures are 14 x 14, means of
2 x 2 pixels, because a training step here costs as much as 20 steps elsewhere.

Run:    python src/23_MNIST_energy_model.py    about two minutes on two CPU cores
Makes:  output/23_MNIST_energy_model.png and output/23_MNIST_energy_model/
Source: Du & Mordatch, Implicit generation and modeling with energy-based models, arXiv:1903.08689;
        Nijkamp et al., On the anatomy of MCMC-based maximum likelihood learning, arXiv:1903.12370;
        Tieleman, Training restricted Boltzmann machines using approximations to the likelihood gradient, ICML 2008;
        Hinton, Training products of experts by minimizing contrastive divergence, 2002
"""

import dataclasses
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Annotated, ClassVar

from lessonkit import config, datasets, figures, judges, training
from lessonkit import run as lesson
from lessonkit.figures import energies, generated

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.metrics import roc_auc_score

SIDE = 14  # pixels
LEVELS = 256  # grey levels of a pixel

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small convnet and short chains, for a CPU. `full` is wider, with longer chains, for a GPU."""

    steps: config.Count = 1_500
    batch_size: config.Count = 128
    learning_rate: config.Rate = 2e-3  # at its peak; it rises for a twentieth of the steps and decays to zero
    widths: tuple[config.Count, config.Count, config.Count] = (32, 64, 64)  # of two convolutions and a dense layer
    penalty: Annotated[float, config.Range(0, 10)] = 0.1  # on the squares of the energies: they drift otherwise
    data_noise: Annotated[float, config.Range(0, 1)] = 0.03  # on real digits, so that they are no single points
    chain_steps: config.Count = 20  # Langevin steps in a training step
    step_size: Annotated[float, config.Range(1e-6, 1e3)] = 10.0  # times the slope of the energy; and
    noise: Annotated[float, config.Range(0, 1)] = 0.02  # deviation per step: far less than Langevin's sqrt(2 step_size)
    slope_limit: Annotated[float, config.Range(1e-6, 1e3)] = 0.03  # slopes are clipped to it: 0.3 a pixel and step
    buffer: config.Count = 10_000  # past samples
    reborn: config.Fraction = 0.05  # of the chains begin again as noise
    sample_every: config.Count = 150  # steps from one picture of the same noise, and one checkpoint, to the next
    rival_steps: config.Count = 1_000  # of the VAE and of the flow
    distribute: config.Alone = "none"  # a loop of its own
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    walk: Annotated[int, config.Range(12, 100_000)] = 240  # Langevin steps from noise to a digit
    samples: Annotated[int, config.Range(20, 60_000)] = 2_000  # digits generated for the scores

    sampling_only: ClassVar = ("walk", "samples")


LARGE = dict(steps=30_000, learning_rate=5e-4, widths=(64, 128, 128), chain_steps=60, sample_every=1_000)
TINY = {"steps": 4, "batch_size": 16, "widths": (4, 4, 8), "chain_steps": 2, "buffer": 64, "sample_every": 2}
TINY |= {"rival_steps": 2, "walk": 12, "samples": 60, "limit": 200, "data": "embedded"}
PRESETS = {"full": LARGE | {"rival_steps": 10_000}, "smoke": TINY}

# %% Data


def halved(data: datasets.LabelledImages) -> datasets.LabelledImages:
    """The same data, each picture (28, 28) as means of 2 x 2 pixels, uint8 (14, 14)."""

    def half(split):
        blocks = split.images.reshape(-1, SIDE, 2, SIDE, 2)
        return dataclasses.replace(split, images=np.round(blocks.mean(axis=(2, 4))).astype(np.uint8))

    parts = {"train": half(data.train), "test": half(data.test), "name": f"{data.name} at {SIDE} x {SIDE}"}
    return dataclasses.replace(data, **parts)


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 14, 14) -> float32 (n, 14, 14, 1) in [-1, 1]."""
    return images[..., None].astype("float32") / 127.5 - 1


def as_images(pictures) -> np.ndarray:
    """Pictures (n, 14, 14, 1) in [-1, 1] -> uint8 (n, 14, 14)."""
    return np.round((np.clip(np.asarray(pictures)[..., 0], -1, 1) + 1) * 127.5).astype(np.uint8)


def uniform_noise(count: int, seed: int) -> np.ndarray:
    """Where chains begin: pixels uniform in [-1, 1], float32 (count, 14, 14, 1)."""
    return np.random.default_rng([seed, 23]).uniform(-1, 1, (count, SIDE, SIDE, 1)).astype("float32")


# %% Model


def build_energy(widths: tuple[int, int, int]) -> keras.Model:
    """A picture -> its energy (batch, 1).

    Swish is smooth: the slope of the energy is what moves the samples, and that of relu would jump. There is no batch
    normalisation: the energy of a picture must not depend on the others in its batch.
    """
    pictures = keras.Input((SIDE, SIDE, 1))
    # 2 x 2 pixels become four channels, so that no convolution has a single channel: its gradient is slow on a CPU.
    blocks = layers.Lambda(lambda inputs: tf.nn.space_to_depth(inputs, 2), name="blocks")(pictures)  # (batch, 7, 7, 4)
    hidden = layers.Conv2D(widths[0], 3, padding="same", activation="swish")(blocks)  # (batch, 7, 7, 32)
    hidden = layers.Conv2D(widths[1], 3, strides=2, padding="same", activation="swish")(hidden)  # (batch, 4, 4, 64)
    hidden = layers.Dense(widths[2], activation="swish")(layers.Flatten()(hidden))  # (batch, 64)
    return keras.Model(pictures, layers.Dense(1, name="energy")(hidden), name="energy")


@dataclasses.dataclass(frozen=True)
class Walk:
    """How a chain moves: x <- x - step_size * slope + noise * z, with the slope clipped, and x kept in a box."""

    step_size: float
    noise: float
    slope_limit: float = np.inf
    box: float = np.inf  # pixels stay within -box ... box

    @property
    def temperature(self) -> float:
        """T of the density exp(-E / T) that small steps of this kind sample: their noise is sqrt(2 step_size T)."""
        return self.noise**2 / (2 * self.step_size)


def langevin(energy: Callable, pictures, steps, walk: Walk, seed, free=1.0):
    """Walk on by so many steps from pictures (batch, ...); where `free` is 0 instead of 1, nothing changes.

    Args:
        energy: (batch, ...) -> (batch, 1). The slope is that of a sum: each energy depends on its own picture alone.
        seed: a SeedGenerator.
    """
    for _ in tf.range(steps):
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            total = ops.sum(energy(pictures))
        slope = ops.clip(tape.gradient(total, pictures), -walk.slope_limit, walk.slope_limit)
        moved = pictures - walk.step_size * slope + walk.noise * keras.random.normal(ops.shape(pictures), seed=seed)
        pictures += free * (ops.clip(moved, -walk.box, walk.box) - pictures)
    return pictures


class EnergyModel:
    """The energy, the buffer of past samples, and one training step."""

    def __init__(self, settings: Config):
        self.settings = settings
        self.energy = build_energy(settings.widths)
        self.walk = Walk(settings.step_size, settings.noise, settings.slope_limit, box=1.0)
        self.buffer = keras.Variable(uniform_noise(settings.buffer, settings.seed), trainable=False, name="buffer")
        rate = training.warm_up_cosine(settings.learning_rate, settings.steps, warm_up=settings.steps // 20)
        self.optimizer = keras.optimizers.Adam(rate, beta_1=0.5)
        self.optimizer.build(self.energy.trainable_variables)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)
        self.sampling_seeds = keras.random.SeedGenerator(settings.seed)
        # All that a step changes: what a checkpoint must hold.
        self.variables = [*self.energy.variables, *self.optimizer.variables, self.buffer, self.seed_generator.state]

    def sample_buffer(self, count: int):
        """Walk on from `count` different places of the buffer, and put the samples back: (count, 14, 14, 1)."""
        places = keras.random.shuffle(ops.arange(self.settings.buffer), seed=self.seed_generator)[:count]
        start = ops.take(self.buffer, places, axis=0)
        noise = keras.random.uniform(start.shape, -1, 1, seed=self.seed_generator)
        reborn = keras.random.uniform((start.shape[0], 1, 1, 1), seed=self.seed_generator) < self.settings.reborn
        start = ops.where(reborn, noise, start)
        samples = langevin(self.energy, start, self.settings.chain_steps, self.walk, self.seed_generator)
        self.buffer.assign(ops.scatter_update(self.buffer, places[:, None], samples))
        return samples

    def loss(self, real, samples) -> dict:
        """Contrastive divergence and the penalty, of pictures (batch, 14, 14, 1) each."""
        energies = self.energy(ops.concatenate([real, samples], axis=0))
        real_energy, sample_energy = ops.split(energies, [real.shape[0]])
        difference = ops.mean(real_energy) - ops.mean(sample_energy)
        size = ops.mean(ops.square(real_energy)) + ops.mean(ops.square(sample_energy))
        logs = {"real": ops.mean(real_energy), "samples": ops.mean(sample_energy), "difference": difference}
        return logs | {"loss": difference + self.settings.penalty * size}

    @tf.function
    def train_step(self, real) -> dict:
        """One step on real pictures (batch, 14, 14, 1)."""
        noise = self.settings.data_noise * keras.random.normal(real.shape, seed=self.seed_generator)
        real = ops.clip(real + noise, -1, 1)
        samples = self.sample_buffer(real.shape[0])  # outside of the tape: the samples are given, like the real ones
        variables = self.energy.trainable_variables
        with tf.GradientTape() as tape:
            logs = self.loss(real, samples)
        self.optimizer.apply_gradients(zip(tape.gradient(logs["loss"], variables), variables, strict=True))
        return logs

    @tf.function(reduce_retracing=True)
    def walk_on(self, pictures, steps, free):
        """So many Langevin steps from pictures (batch, 14, 14, 1), with seeds of its own: no training depends on it."""
        return langevin(self.energy, pictures, steps, self.walk, self.sampling_seeds, free)

    def generate(self, start: np.ndarray, steps: int, free: np.ndarray | float = 1.0) -> np.ndarray:
        """Pictures after a walk from `start` (n, 14, 14, 1); the same at every call with the same energy."""
        self.sampling_seeds.state.assign([self.settings.seed, 1])
        free, pictures = np.broadcast_to(np.float32(free), start.shape), []
        for part in training.parts(len(start), "walks"):
            pictures.append(self.walk_on(start[part], ops.convert_to_tensor(steps), free[part]))
        return np.concatenate(pictures)

    def trajectory(self, start: np.ndarray, marks: Sequence[int]) -> np.ndarray:
        """Pictures (marks, n, 14, 14, 1) of one walk after so many steps, in rising order, from pictures `start`."""
        self.sampling_seeds.state.assign([self.settings.seed, 1])
        frames, done = [start], 0
        for mark in marks:
            frames.append(np.asarray(self.walk_on(frames[-1], ops.convert_to_tensor(mark - done), np.ones_like(start))))
            done = mark
        return np.stack(frames[1:])


# The two rivals, as small as they can be. Each is a Keras model whose output is its loss, so that `fit` trains it.


class Likelihood(keras.Model):
    """Pictures (batch, 14, 14, 1) in [-1, 1] -> nats (batch,): -log p, or an upper bound of it."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean over the batch."""
        return ops.mean(y_pred)


class VAE(Likelihood):
    """The loss of lesson 10, with dense networks and eight latent dimensions."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.encoder = keras.Sequential([layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dense(16)])
        self.decoder = keras.Sequential([layers.Dense(256, activation="relu"), layers.Dense(SIDE**2)])

    def call(self, pictures):
        """Reconstruction (cross-entropy, summed over the pixels) and KL divergence."""
        z_mean, z_log_var = ops.split(self.encoder(pictures), 2, axis=1)
        draw = z_mean + ops.exp(z_log_var / 2) * keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        logits, ink = self.decoder(draw), ops.reshape(pictures + 1, (-1, SIDE**2)) / 2
        reconstruction = SIDE**2 * keras.losses.binary_crossentropy(ink, logits, from_logits=True)
        return reconstruction + ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1, axis=1) / 2


class Flow(Likelihood):
    """Four affine couplings (lesson 22) of dequantised pixels, after a logit; between them the pixels are permuted."""

    def __init__(self, seed: int):
        super().__init__(seed)
        random = np.random.default_rng(seed)
        self.orders = [random.permutation(SIDE**2) for _ in range(4)]
        hidden = [[layers.Dense(256, activation="relu"), layers.Dense(256, activation="relu")] for _ in range(4)]
        self.networks = [keras.Sequential([*two, layers.Dense(SIDE**2, kernel_initializer="zeros")]) for two in hidden]

    def call(self, pictures):
        """By the change of variables; the unit is a grey level."""
        levels = ops.round(ops.reshape(pictures + 1, (-1, SIDE**2)) * 127.5)
        uniform = keras.random.uniform(ops.shape(levels), seed=self.seed_generator)
        inside = 0.01 + 0.98 * (levels + uniform) / LEVELS  # the logit of 0 or 1 would be infinite
        hidden = ops.log(inside) - ops.log(1 - inside)
        log_det = ops.sum(np.float32(np.log(0.98 / LEVELS)) - ops.log(inside) - ops.log(1 - inside), axis=1)
        latent, more = self.couple(hidden)
        return ops.sum(ops.square(latent) + np.float32(np.log(2 * np.pi)), axis=1) / 2 - log_det - more

    def couple(self, hidden):
        """Numbers (batch, 196) -> latents, and the log-determinants (batch,)."""
        log_det = ops.zeros(ops.shape(hidden)[:1])
        for order, network in zip(self.orders, self.networks, strict=True):
            stays, changes = ops.split(ops.take(hidden, order, axis=1), 2, axis=1)
            raw, shift = ops.split(network(stays), 2, axis=1)
            log_scale = 2 * ops.tanh(raw / 2)
            hidden = ops.concatenate([stays, changes * ops.exp(log_scale) + shift], axis=1)
            log_det += ops.sum(log_scale, axis=1)
        return hidden, log_det


# %% Train


def train(run: lesson.Run, model: EnergyModel, real: np.ndarray, test: np.ndarray, garments: np.ndarray):
    """The training loop; every so many steps digits from the same noise, and the AUROC against garments."""
    settings, start = model.settings, uniform_noise(60, run.config.seed + 1)
    watched = {"sample": lambda: figures.tile(as_images(model.generate(start, settings.walk)), columns=20)}
    watched["measure"] = lambda: {
        "auroc_garments": auroc(*(strangeness(model.energy, x[:500]) for x in (test, garments)))
    }
    watched |= {"sample_every": settings.sample_every, "name": "energy"}
    with run.loop(settings.steps, model.variables, [model.optimizer], **watched) as loop:
        for batch in loop.batches(training.Batches(real, settings.batch_size, settings.seed)):
            loop.log(model.train_step(batch))
    return run.history("energy", loop.history, loop.samples)


def train_rival(run: lesson.Run, rival: Likelihood, real: np.ndarray, name: str) -> Likelihood:
    """Fit a VAE or a flow to real pictures."""
    steps, passes = run.config.rival_steps, len(real) // min(run.config.batch_size, len(real))
    batches = training.Batches(real, run.config.batch_size, run.config.seed, parts=passes / steps)
    rate = training.warm_up_cosine(2e-3, steps, warm_up=steps // 20)
    rival(real[:1])  # makes the weights
    rival.compile(keras.optimizers.Adam(rate, global_clipnorm=1e3), jit_compile=False)  # so small that XLA costs more
    run.fit(rival, batches, epochs=1, name=name)
    return rival


# %% Look


def draw_appearing(frames: np.ndarray, marks: Sequence[int], title: str) -> figures.Figure:
    """Eighteen walks (frames, n, 14, 14, 1), the columns, at nine of their steps, the rows."""
    chosen = np.linspace(0, len(frames) - 1, 9).astype(int)
    return energies.rows({f"{marks[at]} steps": as_images(frames[at, :18]) for at in chosen}, title)


# %% Measure

# (low, high) of the default preset on real digits; where there are two, on scikit-learn's, too.
EXPECTED = {"classes_covered": [(9, 10)] * 2, "fid": [(2, 14), (2, 9)], "precision": [(0.3, 0.9), (0.3, 0.75)]}
EXPECTED |= {"recall": [(0.2, 0.9), (0.4, 0.85)], "auroc_garments": [(0.95, 1)] * 2, "auroc_noise": [(0.97, 1)] * 2}
EXPECTED |= {"auroc_mirrored": [(0.65, 0.92), (0.55, 0.8)], "auroc_black_flow": [(0, 0.05)] * 2}
EXPECTED |= {"variance_proper": [(0.95, 1.08)] * 2, "variance_usual": [(0, 0.05)] * 2}
LEAST = 10  # examples: with fewer, hardly a score means anything


def strangeness(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """Energies or nats (n,) of pictures (n, 14, 14, 1)."""
    return np.concatenate([np.ravel(model(pictures[part])) for part in training.parts(len(pictures), "pictures")])


def auroc(digits: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs (a digit, another picture) in which the other one has more energy or nats, (n,) each."""
    return float(roc_auc_score(np.repeat([0, 1], [len(digits), len(others)]), np.concatenate([digits, others])))


def strange_kinds(digits: np.ndarray, garments: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Pictures that are no digits, by kind: (n, 14, 14, 1) in [-1, 1] each."""
    halves = np.concatenate([np.roll(digits, 1, axis=0)[:, :, :7], digits[:, :, 7:]], axis=2)
    kinds = {"garments": garments, "noise": uniform_noise(len(digits), seed + 2), "mirrored": digits[:, :, ::-1]}
    return kinds | {"upside down": digits[:, ::-1], "two halves": halves, "black": np.full_like(digits, -1)}


def compare(run: lesson.Run, models: dict, digits: np.ndarray, kinds: dict) -> figures.Figure:
    """The AUROC of every model against every kind of strange pictures."""
    found, usual = {}, {name: strangeness(model, digits) for name, model in models.items()}
    for kind, pictures in kinds.items():
        found[kind] = {name: auroc(usual[name], strangeness(model, pictures)) for name, model in models.items()}
        for name, value in found[kind].items():
            key = f"auroc_{kind.replace(' ', '_')}" + ("" if name == "energy" else f"_{name.split()[0].lower()}")
            run.metric(key, value, f"({len(digits):,} digits, {len(pictures):,} others)", *EXPECTED.get(key, ()))
    return energies.strange({kind: as_images(pictures[:8]) for kind, pictures in kinds.items()}, found)


def restore(run: lesson.Run, model: EnergyModel, judge: judges.Judge, images: np.ndarray, labels) -> figures.Figure:
    """Spoil digits, let them walk, and ask the judge before and after."""
    pictures, settings = scaled(images), run.config
    noise, free = uniform_noise(len(images), settings.seed + 3), np.zeros_like(pictures)
    free[:, SIDE // 2 :] = 1  # only the lower half may change
    noisy = np.clip(pictures + 1.2 * noise, -1, 1)
    hidden = np.where(free > 0, noise, pictures)
    rows = {"original": pictures, "noisy": noisy, "restored": model.generate(noisy, settings.walk // 4)}
    rows |= {"lower half hidden": hidden, "filled in": model.generate(hidden, settings.walk, free)}
    for name, shown in rows.items():
        key, value = f"accuracy_{name.replace(' ', '_')}", np.mean(judge.classes(as_images(shown)) == labels)
        run.metric(key, value, f"({len(images)} digits, {judge.name})", *EXPECTED.get(key, ()))
    title = "Spoiled test digits, restored by walking down the energy"
    return energies.rows({name: as_images(shown[:16]) for name, shown in rows.items()}, title)


def spread(run: lesson.Run) -> figures.Figure:
    """Walks on the energy x^2 / 2, whose density exp(-x^2 / 2) has the variance 1."""
    settings = run.config
    named = {"proper": Walk(0.02, 0.2), "usual": Walk(10.0, 0.005, 0.03)}
    named["lesson"] = Walk(settings.step_size, settings.noise, settings.slope_limit)
    together = Walk(*np.array([dataclasses.astuple(walk)[:3] for walk in named.values()], "float32").T)  # (3,) each
    start = np.random.default_rng(settings.seed).uniform(-3, 3, (4_000, 3)).astype("float32")
    seed = keras.random.SeedGenerator(settings.seed)

    @tf.function
    def walk_on(positions):
        return langevin(lambda x: x**2 / 2, positions, tf.constant(1_000), together, seed)

    ends, shown = walk_on(tf.constant(start)).numpy().T, {}
    for (name, walk), end in zip(named.items(), ends, strict=True):
        settings = f"step {walk.step_size:g}, noise {walk.noise:g}"
        key, unit = f"variance_{name}", f"({settings}: temperature {walk.temperature:.2g})"
        run.metric(key, end.var(), unit, *EXPECTED.get(key, ()))
        shown[f"{name}: {settings}"] = end
    return energies.spread(shown)


def measure_samples(run: lesson.Run, model: EnergyModel, data, judge: judges.Judge) -> tuple:
    """Generate digits from noise, and measure them by the judge."""
    start = uniform_noise(run.config.samples, run.config.seed + 4)
    begin = perf_counter()
    images = as_images(model.generate(start, run.config.walk))
    run.metric("seconds_per_1000_samples", 1_000 * (perf_counter() - begin) / len(images), "s")
    scores = judges.scores(judge, images, data)
    scores.report(run, EXPECTED, "digits")
    run.metric("parameters", model.energy.count_params(), "")
    return images, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, energy, rivals; strange pictures, samples, spoiled digits; Langevin in one dimension."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data, garments = halved(datasets.mnist(run)), halved(datasets.fashion_mnist(run))
        run.require(LEAST, training_pictures=len(data.train), test_pictures=min(len(data.test), len(garments.test)))
        judge, seed = judges.judge(run, data), run.config.seed
        real = scaled(data.train.images)
        digits, others = (scaled(part.test.images[:2_000]) for part in (data, garments))
        model = EnergyModel(run.config)
        run.diagram(model.energy)
        history = train(run, model, real, digits, others)
        models = {"energy": model.energy, "VAE loss": train_rival(run, VAE(seed), real, "vae")}
        models["flow -log p"] = train_rival(run, Flow(seed), real, "flow")
        run.figure("strange", compare(run, models, digits, strange_kinds(digits, others, seed)))
        images, scores = measure_samples(run, model, data, judge)
        marks = np.unique(np.round(run.config.walk * np.linspace(0, 1, 49) ** 2).astype(int))
        frames = model.trajectory(uniform_noise(60, seed + 1), marks)
        title = f"Digits out of noise, none chosen: {scores.classes_covered} of 10 classes, FID {scores.fid:.1f}"
        run.figure("appearing", draw_appearing(frames, marks, title), headline=True)
        run.gif("appearing", [energies.enlarged(as_images(frame)) for frame in frames])
        samples = {" " * row: images[20 * row : 20 * row + 20] for row in range(len(images[:200]) // 20)}
        title = f"Samples, none chosen, after {run.config.walk} Langevin steps"
        run.figure("samples", energies.rows(samples, title))
        run.figure("nearest", generated.nearest(images, data.train.images, scores, "digit"))
        title = "Digits from the same noise at later and later steps of the training"
        run.figure("training", generated.progress(history.frames, history.frame_steps, SIDE, title))
        run.figure("curves", energies.curves(history))
        run.figure("restored", restore(run, model, judge, data.test.images[:1_000], data.test.labels[:1_000]))
        run.figure("spread", spread(run))


if __name__ == "__main__":
    main()

# What to try next
# 1. --resume --walk 2000: chains eight times as long. Do the digits get better, or do they leave?
# 2. --noise 0.005: the usual noise. What happens to the samples, and to their variety?
# 3. --reborn 0: the buffer is never renewed. Do chains from noise still arrive at digits?
# 4. --penalty 0: nothing holds the energies. Where do they go?
