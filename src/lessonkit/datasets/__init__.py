"""The data sets of the lessons: real where they can be had, else an embedded stand-in; each says where it came from."""

from lessonkit.datasets.celeba import celeba
from lessonkit.datasets.cifar10 import cifar10
from lessonkit.datasets.fashion_mnist import fashion_mnist
from lessonkit.datasets.imdb import imdb
from lessonkit.datasets.mnist import mnist
from lessonkit.datasets.pictures import Frame, paintings, photograph

__all__ = ["Frame", "celeba", "cifar10", "fashion_mnist", "imdb", "mnist", "paintings", "photograph"]
