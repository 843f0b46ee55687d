"""The data sets of the lessons: real where they can be had, else an embedded stand-in; each says where it came from."""

from lessonkit.datasets.celeba import Faces, FaceSplit, celeba
from lessonkit.datasets.cifar10 import cifar10
from lessonkit.datasets.emoji import (
    Domain,
    Domains,
    Pairs,
    PairSplit,
    emoji_domains,
    emoji_pairs,
    own_drawing,
    own_picture,
)
from lessonkit.datasets.fashion_mnist import fashion_mnist
from lessonkit.datasets.imdb import Texts, imdb
from lessonkit.datasets.mnist import mnist
from lessonkit.datasets.pictures import Frame, Picture, paintings, photograph
from lessonkit.datasets.source import LabelledImages, Split
from lessonkit.datasets.translation import facades, horse2zebra

__all__ = [
    "Domain",
    "Domains",
    "FaceSplit",
    "Faces",
    "Frame",
    "LabelledImages",
    "PairSplit",
    "Pairs",
    "Picture",
    "Split",
    "Texts",
    "celeba",
    "cifar10",
    "emoji_domains",
    "emoji_pairs",
    "facades",
    "fashion_mnist",
    "horse2zebra",
    "imdb",
    "mnist",
    "own_drawing",
    "own_picture",
    "paintings",
    "photograph",
]
