"""The data sets of the lessons: real where they can be had, else an embedded stand-in; each says where it came from."""

from lessonkit.datasets.celeba import celeba
from lessonkit.datasets.cifar10 import cifar10
from lessonkit.datasets.mnist import mnist

__all__ = ["celeba", "cifar10", "mnist"]
