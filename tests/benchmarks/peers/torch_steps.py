"""The same four networks and training steps in PyTorch, timed on demand for `bench_peers.py`.

Reads lines "name steps" from standard input, runs so many training steps of that network on one batch, and answers with
the seconds; the first answer to a name is its number of trained weights. Networks in channels-last memory format; with
"compiled" in the name the step's networks are compiled by `torch.compile`, where the machine has a C++ compiler for it.
"""

import copy
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

LAST = torch.channels_last


class MLP:
    """Lesson 01: 3072, 200, 150, 10; Adam, cross-entropy."""

    batch = 32

    def __init__(self):
        layers = [nn.Flatten(), nn.Linear(3072, 200), nn.ReLU(), nn.Linear(200, 150), nn.ReLU(), nn.Linear(150, 10)]
        self.network = nn.Sequential(*layers)
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), fused=True)
        self.images, self.labels = torch.rand(self.batch, 3, 32, 32), torch.randint(10, (self.batch,))

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()


class VAE(nn.Module):
    """Lesson 10: convolutions 32 and 64 with stride 2, a dense layer of 16, two latents, and the mirror image."""

    batch = 64

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            Same(1, 32), nn.ReLU(), Same(32, 64), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 16), nn.ReLU()
        )
        self.mean, self.log_variance = nn.Linear(16, 2), nn.Linear(16, 2)
        self.decoder = nn.Sequential(
            nn.Linear(2, 3136), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
            *(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU()),
            nn.Conv2d(32, 1, 3, padding=1),
        )  # fmt: skip
        self.to(memory_format=LAST)
        self.networks = [self]
        self.optimizer = torch.optim.Adam(self.parameters(), fused=True)
        self.images = torch.rand(self.batch, 1, 28, 28).to(memory_format=LAST)

    def forward(self, images):
        hidden = self.encoder(images)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        codes = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        pixels = functional.binary_cross_entropy_with_logits(self.decoder(codes), images, reduction="sum")
        kl = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
        return (pixels + kl) / len(images)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.networks[0](self.images).backward()
        self.optimizer.step()


class Same(nn.Conv2d):
    """A convolution with stride 2 and TensorFlow's "same" padding: odd sums go to the right and to the bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3):
        super().__init__(inputs, outputs, kernel, 2)

    def forward(self, images):
        before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
        odd = images.shape[-1] % 2  # an odd size needs the same padding on both sides
        return super().forward(functional.pad(images, (before + odd, after) * 2))


class DCGAN:
    """Lesson 13, preset full: kernels of 5 x 5, generator 256, 128, 128, discriminator 64, 128; two Adams."""

    batch, latent = 256, 100

    def __init__(self):
        def transposed(inputs, outputs, stride):
            return nn.ConvTranspose2d(inputs, outputs, 5, stride, 2, stride - 1, bias=False)

        def normalised(channels):
            return nn.BatchNorm2d(channels), nn.LeakyReLU(0.3)

        self.generator = nn.Sequential(
            nn.Linear(self.latent, 49 * 256, bias=False), nn.BatchNorm1d(49 * 256), nn.LeakyReLU(0.3),
            nn.Unflatten(1, (256, 7, 7)), transposed(256, 128, 1), *normalised(128),
            transposed(128, 128, 2), *normalised(128), transposed(128, 1, 2), nn.Tanh(),
        ).to(memory_format=LAST)  # fmt: skip
        self.discriminator = nn.Sequential(
            Same(1, 64, 5), nn.LeakyReLU(0.3), nn.Dropout(0.3), Same(64, 128, 5), nn.LeakyReLU(0.3), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(49 * 128, 1),
        ).to(memory_format=LAST)  # fmt: skip
        self.networks = [self.generator, self.discriminator]
        self.optimizers = [torch.optim.Adam(network.parameters(), fused=True) for network in self.networks]
        self.real = (2 * torch.rand(self.batch, 1, 28, 28) - 1).to(memory_format=LAST)

    def step(self):
        generator, discriminator = self.networks
        fake = generator(torch.randn(self.batch, self.latent))
        ones, zeros = torch.ones(self.batch, 1), torch.zeros(self.batch, 1)
        loss = functional.binary_cross_entropy_with_logits
        judged = loss(discriminator(self.real), ones) + loss(discriminator(fake.detach()), zeros)
        fooled = loss(discriminator(fake), ones)
        for optimizer, value, network in zip(self.optimizers, (fooled, judged), self.networks, strict=True):
            weights = list(network.parameters())
            for weight, gradient in zip(weights, torch.autograd.grad(value, weights, retain_graph=True), strict=True):
                weight.grad = gradient
            optimizer.step()


class Block(nn.Module):
    """A residual block of lesson 25: group normalisation, silu, convolution, twice; scale and shift by the time."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(4, inputs), nn.GroupNorm(4, outputs)])
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.condition = nn.Linear(64, 2 * outputs)

    def forward(self, images, condition):
        hidden = self.first(functional.silu(self.norms[0](images)))
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        hidden = functional.silu(self.norms[1](hidden) * (1 + scale) + shift)
        return self.skip(images) + self.second(hidden)


class UNet(nn.Module):
    """Lesson 25's network: blocks of 2 x 2 pixels, a residual block at 14, 7, 4 with 16, 32, 48 channels."""

    channels = (16, 32, 48)

    def __init__(self):
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.enter, self.down, self.up, seen = nn.Conv2d(4, 16, 3, padding=1), nn.ModuleList(), nn.ModuleList(), []
        hidden = 16
        for channels in self.channels:
            self.down.append(Block(hidden, channels))
            hidden = channels
            seen.append(channels)
        for channels in reversed(self.channels):
            self.up.append(Block(hidden + seen.pop(), channels))
            hidden = channels
        self.norm, self.leave = nn.GroupNorm(4, hidden), nn.Conv2d(hidden, 4, 3, padding=1)
        self.register_buffer("frequencies", torch.logspace(0, 2, 16))

    def forward(self, points, times):
        angles = times * self.frequencies
        condition = self.embedding(torch.cat([angles.sin(), angles.cos()], dim=1))
        hidden, skips = self.enter(functional.pixel_unshuffle(points, 2)), []
        for number, block in enumerate(self.down):
            if number:
                hidden = functional.avg_pool2d(hidden, 2, ceil_mode=True, count_include_pad=False)
            hidden = block(hidden, condition)
            skips.append(hidden)
        for block in self.up:
            size = skips[-1].shape[-1]
            if hidden.shape[-1] != size:
                hidden = functional.interpolate(hidden, scale_factor=2)[:, :, :size, :size]
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), condition)
        return functional.pixel_shuffle(torch.tanh(self.leave(functional.silu(self.norm(hidden)))), 2)


class Diffusion:
    """Lesson 25's training step: noise of random times, weighted error of the picture, an average of the weights."""

    batch, times = 64, 1_000

    def __init__(self):
        self.network = UNet().to(memory_format=LAST)
        self.averaged = copy.deepcopy(self.network)
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), fused=True)
        steps = (torch.arange(self.times + 1) / self.times + 0.008) / 1.008
        self.levels = (torch.cos(steps * torch.pi / 2) ** 2).clamp(1e-4, 1)
        self.images = (2 * torch.rand(self.batch, 1, 28, 28) - 1).to(memory_format=LAST)

    def step(self):
        times = torch.randint(1, self.times + 1, (self.batch, 1))
        level = self.levels[times][:, :, None, None]
        points = level.sqrt() * self.images + (1 - level).sqrt() * torch.randn_like(self.images)
        errors = (self.networks[0](points, times / self.times) - self.images).square()
        self.optimizer.zero_grad(set_to_none=True)
        (errors / (1 - level).clamp(min=0.01)).mean().backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), 0.001)


KINDS: dict[str, Callable] = {"01": MLP, "10": VAE, "13": DCGAN, "25": Diffusion}


def main() -> None:
    """Answer the lines of standard input until it ends."""
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    made = {}
    for line in sys.stdin:
        name, steps = line.split()
        if name not in made:
            lesson, *compiled = name.split("-")
            made[name] = KINDS[lesson]()
            weights = sum(part.numel() for network in made[name].networks for part in network.parameters())
            if compiled:
                made[name].networks = [torch.compile(network) for network in made[name].networks]
            print(weights, made[name].batch, flush=True)
        begin = time.perf_counter()
        for _ in range(int(steps)):
            made[name].step()
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
