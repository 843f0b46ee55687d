"""What the lessons share and no reader needs to study: flags, data, devices, figures, run cards.

Import it before Keras: it chooses the backend, whatever keras.json or the environment says, and quiets TensorFlow's
start-up log.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow leaves it off on processors without AVX-512
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a terminal that knows only ASCII gets a "?", not a traceback
