"""Figures of two players: losses and accuracies of a generator and a discriminator."""

from collections.abc import Mapping

from lessonkit.figures import COLORS, generated, subplots

import numpy as np
from matplotlib.figure import Figure
from scipy.special import entr


def tied_losses(undecided: float) -> dict[str, float]:
    """Both losses, in nats, of a discriminator that answers every image with the probability `undecided`.

    This is the best answer if real and generated images cannot be told apart: half of the mean label of the real
    ones. Its own loss is the mean over as many real as generated images; the generator's is - log undecided.
    """
    return {"generator_loss": -np.log(undecided), "discriminator_loss": float(np.sum(entr([undecided, 1 - undecided])))}


def curves(history, tied: Mapping[str, float], floor: float, things: str) -> Figure:
    """Losses and accuracies of the two players over the steps, beside the distance (KID) to real images.

    Args:
        history: run.History with generator_loss, discriminator_loss, accuracy_real and accuracy_fake, and a measured
            "kid" for every frame.
        tied: by name, the value of the two losses if real and generated images could not be told apart.
        floor: the KID of test images.
        things: what the images show, such as "digits".
    """
    title = "Losses do not tell how good the images are; the distance to real ones does"
    figure, (losses, accuracies, distances) = subplots(1, 3, width=9, height=3.6, title=title)
    chance = dict.fromkeys(("accuracy_real", "accuracy_fake"), 0.5)
    for cell, marks in ((losses, tied), (accuracies, chance)):
        for index, (name, level) in enumerate(marks.items()):
            color, label = COLORS[index], name.removesuffix("_loss").replace("accuracy_", "on ")
            label = label.replace("fake", "generated")
            cell.plot(history.epochs, history[name], ("-", "--")[index], color=color, label=label, linewidth=1.2)
            cell.axhline(level, color=color if cell is losses else "black", linestyle=":", linewidth=1.5)
        cell.plot([], [], "k:", label="if they were indistinguishable")
        cell.set_xlabel("step")
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    losses.set(ylabel="loss (nats)", ylim=(0, None))
    accuracies.set(ylabel="discriminator's accuracy", ylim=(0, 1.02))
    generated.distance(distances, history.frame_steps, history.measured["kid"], floor, things)
    return figure
