"""Figures of language models: the loss beside its baselines, and generated texts."""

from collections.abc import Mapping, Sequence

from lessonkit.figures import levels, subplots, text_table

import numpy as np
from matplotlib.figure import Figure


def loss_and_texts(
    history: Mapping[str, Sequence[float]], tokens: np.ndarray, nats: Mapping[str, float], texts: Mapping[str, str]
) -> Figure:
    """The loss over the tokens read, with the levels of the baselines, above generated texts.

    Args:
        history: "loss" and "val_loss", one value for each entry of `tokens`, the numbers of tokens read by then.
        nats: nats per token on test reviews of the model, which comes first, and of the baselines, by name.
        texts: one by each sampler.
    """
    (_, model), *baselines = nats.items()
    title = f"Perplexity {np.exp(model):.1f} on test reviews, and a text generated at each temperature"
    figure, (curve, table) = subplots(2, width=8.2, height=9.6, title=title, height_ratios=(1, 2.2))
    curve.plot(tokens / 1e6, history["loss"], marker=".", label="training reviews (mean since the last point)")
    curve.plot(tokens / 1e6, history["val_loss"], marker=".", linestyle="--", label="test reviews")
    curve.plot([], [], "k:", label="baselines, with their perplexities")
    levels(curve, {f"{np.exp(value):.1f} {name}": value for name, value in baselines})
    curve.set(xlabel="tokens read (millions)", ylabel="nats per token")
    curve.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    text_table(table, texts, columns=84, lines=5)
    return figure
