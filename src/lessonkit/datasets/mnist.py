"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 (LeCun, Bottou, Bengio and Haffner 1998)."""

from lessonkit.datasets import source
from lessonkit.datasets.embedded import digits

CLASS_NAMES = tuple("0123456789")
SOURCE = source.Source(
    name="MNIST",
    files=("mnist.npz",),
    read_folder=lambda path: source.read_npz(path, (28, 28), 10),
    downloads=(
        source.Download(
            url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            file="datasets/mnist.npz",
            hash="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            megabytes=11,
        ),
    ),
    read_downloads=lambda paths: source.read_npz(paths[0], (28, 28), 10),
    embedded=digits.splits,
    stand_in="scikit-learn's 1,797 handwritten digits, enlarged and varied",
)


def mnist(run) -> source.LabelledImages:
    """Digits: images uint8 (n, 28, 28), white on black; labels 0 to 9."""
    return source.labelled_images(run, SOURCE, CLASS_NAMES)
