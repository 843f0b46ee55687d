"""MNIST: 60,000 + 10,000 handwritten digits, 28x28 (LeCun, Bottou, Bengio and Haffner 1998)."""

from typing import TYPE_CHECKING

from lessonkit.datasets import formats, source
from lessonkit.datasets.embedded import digits

if TYPE_CHECKING:
    from lessonkit.run import Run

CLASS_NAMES = tuple("0123456789")
FIRST_LABELS = (5, 0, 4, 1, 9)  # of the training digits
SOURCE = source.Source(
    name="MNIST",
    things="digits",
    forms=(
        source.Form(("mnist.npz",), lambda paths: formats.read_npz(paths[0], (28, 28), 10)),
        *formats.idx_forms(FIRST_LABELS, "MNIST/raw", "MNIST", "mnist/raw", "mnist"),
        source.Form(("mnist.pkl.gz",), formats.read_pickled_mnist, (".", "MNIST", "mnist")),
        source.Form(("mnist_train.csv", "mnist_test.csv"), formats.read_tables, (".", "MNIST", "mnist")),
    ),
    downloads=(
        source.Download(
            url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            file="datasets/mnist.npz",
            hash="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            megabytes=11,
        ),
    ),
    read_downloads=lambda paths: formats.read_npz(paths[0], (28, 28), 10),
    stand_in=source.StandIn(
        name="scikit-learn digits",
        things="digits",
        origin="scikit-learn's 1,797 handwritten digits, enlarged and varied",
        draw=lambda limit: digits.splits(),
    ),
    by_hand="mnist.npz",
)


def mnist(run: "Run") -> source.LabelledImages:
    """Digits: images uint8 (n, 28, 28), white on black; labels 0 to 9."""
    return source.labelled_images(run, SOURCE, CLASS_NAMES)
