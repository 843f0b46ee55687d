"""The data sets of the lessons: real where they can be had, else an embedded stand-in; each says where it came from."""

from lessonkit.datasets.celeba import Faces, FaceSplit, celeba
from lessonkit.datasets.cifar10 import cifar10
from lessonkit.datasets.fashion_mnist import fashion_mnist
from lessonkit.datasets.imdb import Texts, imdb
from lessonkit.datasets.mnist import mnist
from lessonkit.datasets.pictures import Frame, Picture, paintings, photograph
from lessonkit.datasets.source import LabelledImages, Split

__all__ = [
    "FaceSplit",
    "Faces",
    "Frame",
    "LabelledImages",
    "Picture",
    "Split",
    "Texts",
    "celeba",
    "cifar10",
    "fashion_mnist",
    "imdb",
    "mnist",
    "paintings",
    "photograph",
]
