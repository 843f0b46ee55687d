"""The transformer blocks of lessons 15, 24 and 27 beside Keras' own attention layer with the same weights."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import load_lesson

WIDTH, HEADS, LENGTH = 16, 2, 7
text, codes = load_lesson("15_IMDB_text_transformer"), load_lesson("24_FashionMNIST_VQVAE")
music = load_lesson("27_Bach_music_transformer")
BLOCKS = {
    "15": lambda: text.Block(WIDTH, HEADS, 32, 0.0),
    "24": lambda: codes.Block(dataclasses.replace(codes.Config(), heads=HEADS, head_width=WIDTH // HEADS)),
    "27": lambda: music.Block(WIDTH, HEADS, LENGTH, 0.0),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_causal_attention_and_a_network_each_added_to_its_input(name):
    random, block = np.random.default_rng(0), BLOCKS[name]()
    x = random.normal(size=(3, LENGTH, WIDTH)).astype("float32")
    block(x)
    for variable in block.trainable_variables:
        if variable is not getattr(block, "bias", None):  # lesson 27's bias by distance stays 0
            variable.assign(random.normal(size=variable.shape) / 2)
    attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    attention.build(x.shape, x.shape)
    kernel = np.reshape(block.project.kernel, (WIDTH, 3, HEADS, -1)), np.reshape(block.project.bias, (3, HEADS, -1))
    queries, keys, values = zip(np.moveaxis(kernel[0], 1, 0), kernel[1], strict=True)
    merge = np.reshape(block.merge.kernel, (HEADS, -1, WIDTH)), block.merge.bias
    attention.set_weights([*queries, *keys, *values, *merge])
    normalised = block.before_attention(x)
    attended = x + attention(normalised, normalised, use_causal_mask=True)
    wanted = attended + block.out(block.hidden(block.before_network(attended)))
    assert np.array(block(x)) == pytest.approx(np.array(wanted), abs=1e-4)
