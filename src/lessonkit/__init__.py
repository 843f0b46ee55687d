"""What the lessons share and no reader needs to study: flags, data, devices, figures, run cards.

Import it before Keras: it chooses the backend and quiets TensorFlow's start-up log.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
