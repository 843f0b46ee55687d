"""The shared parts: batches that can be resumed, checkpoints, figures, the doctor, and the numbers in the pages."""

import json
import re
from pathlib import Path

from lessonkit import doctor, figures, readme, training
from lessonkit.config import PUBLISHED, StudyError

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from conftest import LESSONS, REPOSITORY
from PIL import Image

# Batches


def first_batches(batches: training.Batches, first_step: int, count: int) -> np.ndarray:
    return np.stack([np.asarray(batch) for batch in batches.dataset(first_step).take(count)])


def test_an_epoch_holds_every_example_once():
    batches = training.Batches(np.arange(60), batch_size=10, seed=1)
    assert batches.steps_per_epoch == 6
    epochs = first_batches(batches, 0, 12).reshape(2, 60)
    for epoch in epochs:
        assert sorted(epoch) == list(range(60))
    assert not np.array_equal(*epochs), "every epoch is a new permutation"
    assert not np.array_equal(epochs[0], first_batches(training.Batches(np.arange(60), 10, seed=2), 0, 6).ravel())


def test_batches_can_begin_at_any_step():
    def transform(a, b, seed):
        return tf.stack([a, b + tf.cast(seed[1], b.dtype)])

    batches = training.Batches((np.arange(50), np.arange(50)), 8, 3, transform, random=True)
    whole = first_batches(batches, 0, 15)
    np.testing.assert_array_equal(whole[7:], first_batches(batches, 7, 8))


def test_fewer_examples_than_a_batch():
    batches = training.Batches(np.arange(3), 10, 0)
    assert batches.batch_size == 3 and batches.steps_per_epoch == 1


# Checkpoints


def test_a_checkpoint_gives_everything_back(tmp_path):
    variables = [keras.Variable(np.arange(3.0)), tf.Variable(7, dtype=tf.int64)]
    checkpoint = training.Checkpoint(tmp_path / "deep" / "model.npz", {"latent_dim": 2})
    assert checkpoint.restore(variables) is None
    frames = [np.full((2, 2), 9, np.uint8)]
    checkpoint.save(variables, {"history": [{"epoch": 1, "loss": 0.5}]}, frames)
    variables[0].assign(np.zeros(3))
    variables[1].assign(0)
    progress, back = checkpoint.restore(variables)
    assert list(np.asarray(variables[0])) == [0, 1, 2] and int(variables[1]) == 7
    assert progress["history"][0]["loss"] == 0.5 and np.array_equal(back, frames)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.npz"]


def test_a_checkpoint_of_other_settings_or_a_broken_one_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    variable = keras.Variable(np.zeros(3))
    training.Checkpoint(path, {"latent_dim": 2}).save([variable], {})
    with pytest.raises(StudyError, match="other settings .latent_dim"):
        training.Checkpoint(path, {"latent_dim": 3}).restore([variable])
    with pytest.raises(StudyError, match="another model"):
        training.Checkpoint(path, {"latent_dim": 2}).restore([keras.Variable(np.zeros(4))])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StudyError, match="not a whole checkpoint"):
        training.Checkpoint(path, {"latent_dim": 2}).restore([variable])


def test_dropout_state_is_part_of_what_a_checkpoint_holds():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    variables, optimizers = training.state(model)
    names = [variable.path for variable in variables if hasattr(variable, "path")]
    assert any("seed_generator" in name for name in names) and any("adam" in name for name in names)
    assert optimizers == [model.optimizer]


@pytest.mark.parametrize(("steps", "warm_up"), [(100, 0), (100, 20), (7, 1)])
def test_the_schedule_ends_at_zero(steps, warm_up):
    rate = training.warm_up_cosine(0.5, steps, warm_up, start=0.02)
    values = [float(rate(step)) for step in range(steps + 1)]
    assert values[0] == pytest.approx(0.02 if warm_up else 0.5)
    assert max(values) == values[warm_up] == pytest.approx(0.5)
    assert values[steps] == pytest.approx(0, abs=1e-8) and all(value > 0 for value in values[:steps])
    assert values[(steps + warm_up) // 2] == pytest.approx(0.25, abs=0.5 / steps * np.pi)


def test_unpaired_batches_of_two_lengths():
    first, second = training.Batches(np.arange(12), 4, seed=1), training.Batches(np.arange(100, 130), 4, seed=2)
    both = training.Unpaired(first, second)
    assert both.steps_per_epoch == 7 and both.examples == 30

    def batches(start, count):
        return [np.concatenate(pair) for pair in both.dataset(start).take(count)]

    whole = batches(0, 14)
    assert sorted(np.concatenate([batch[:4] for batch in whole[:3]])) == list(range(12))
    assert sorted(np.concatenate([batch[:4] for batch in whole[3:6]])) == list(range(12)), "the shorter begins again"
    assert len({int(value) for batch in whole[:7] for value in batch[4:]}) == 28
    np.testing.assert_array_equal(whole[5:], batches(5, 9))


# Figures


def test_tile_puts_pictures_side_by_side():
    sheet = figures.tile(np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), 0.5)]), columns=2, gap=1)
    assert sheet.shape == (7, 7) and sheet.dtype == np.uint8
    assert sheet[0, 0] == 0 and sheet[0, 4] == 255 and sheet[4, 0] == 128 and sheet[4, 4] == 255


def test_show_image_never_stretches_a_picture():
    """Grey 100..120 must not become black..white."""
    figure, axes = figures.subplots()
    figures.show_image(axes, np.linspace(100, 120, 16).reshape(4, 4).astype(np.uint8))
    assert axes.images[0].get_clim() == (0, 1)
    assert axes.images[0].get_array().max() < 0.5
    plt.close(figure)


def test_without_graphviz_a_diagram_becomes_a_dot_file(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="only_layer")])
    monkeypatch.setenv("PATH", str(tmp_path))
    path = figures.diagram(model, tmp_path / "model.png")
    assert path.name == "model.dot" and "only_layer" in path.read_text() and not (tmp_path / "model.png").exists()


def test_two_digits_keep_a_zero_and_need_no_exponent():
    values = (0.05797, 0.9, 1.98, 9.96, 54.2, 99.6, 300.8)
    assert [figures.two_digits(value) for value in values] == ["0.058", "0.90", "2.0", "10", "54", "100", "301"]


HARD_NAMES = ["50$_off_$20.png", "$\\frac{1$", "사진.jpg", "写真_%s_{x}.png", "a\tb^_^.jpg"]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_outside_text_never_breaks_a_figure(name, tmp_path, recwarn):
    """Dollars are no formula, and a letter that no font has is no warning."""
    figure, axes = figures.subplots(title=name)
    axes.set(xlabel=name, title=name)
    figures.save(figure, tmp_path / "figure.png", small_print=name)
    assert Image.open(tmp_path / "figure.png").size[0] > 300
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_letters_that_no_font_has_become_question_marks(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["DejaVu Sans"])
    assert figures.drawable("pagoda é α 사진") == "pagoda é α ??"


def test_logarithmic_axes_show_powers_not_formulas(tmp_path):
    figure, axes = figures.subplots()
    axes.plot([1, 2, 3], [1e-7, 1e-3, 1])
    axes.set_yscale("log")
    narrow = axes.inset_axes([0.5, 0.5, 0.4, 0.4])
    narrow.plot([1, 2], [2, 5])
    narrow.set_yscale("log")
    figures.save(figure, tmp_path / "figure.png", small_print="")
    wide = [label.get_text() for label in axes.get_yticklabels()]
    assert "10⁻⁴" in wide or "10⁻³" in wide
    labels = [*wide, *(label.get_text() for label in narrow.get_yticklabels(which="both"))]
    assert not any("$" in label or "{" in label for label in labels)


def test_a_palette_only_where_it_does_not_show():
    few = Image.fromarray(np.kron(np.arange(200, dtype=np.uint8).reshape(10, 20), np.ones((4, 4), np.uint8))).convert(
        "RGB"
    )
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    assert figures.with_palette(few).mode == "P" and figures.with_palette(noise).mode == "RGB"
    assert np.array_equal(figures.with_palette(few).convert("RGB"), few)


def test_a_gif_needs_frames_of_one_size(tmp_path):
    frames = [np.full((8, 9, 3), level, np.uint8) for level in (0, 100, 200)]
    figures.save_gif(frames, tmp_path / "a.gif", seconds=1)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3 and image.info["loop"] == 0 and image.size == (9, 8)
    figures.save_gif(frames[:1], tmp_path / "one.gif", seconds=1)
    with pytest.raises(ValueError, match="different sizes"):
        figures.save_gif([*frames, np.zeros((9, 9, 3), np.uint8)], tmp_path / "b.gif", seconds=1)


# The doctor


def test_the_cpu_agrees_with_itself():
    assert all(value <= doctor.TOLERANCE for value in doctor.compare_devices("/CPU:0", "/CPU:0").values())


def test_the_guard_sees_a_lost_relu(monkeypatch):
    monkeypatch.setattr(doctor.tf.nn, "relu", lambda values: values)
    assert doctor.compare_devices("/CPU:0", "/CPU:0")["relu"] > doctor.TOLERANCE


@pytest.mark.parametrize(("agrees", "begins"), [(True, "GPU"), (False, "CPU")])
def test_a_gpu_is_used_only_if_it_agrees(agrees, begins, monkeypatch, capsys):
    hidden = []
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(doctor.tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(doctor.tf.config, "set_visible_devices", lambda devices, kind: hidden.append(kind))
    monkeypatch.setattr(doctor.tf.config.experimental, "get_device_details", lambda device: {"device_name": "test"})
    monkeypatch.setattr(doctor, "ask_gpu", lambda: agrees)
    assert doctor.choose_device("auto").startswith(begins)
    assert bool(hidden) is not agrees and ("warning" in capsys.readouterr().err) is not agrees
    assert doctor.choose_device("cpu").startswith("CPU")


def test_the_doctor_reports(capsys):
    status = doctor.main([])
    told = capsys.readouterr().out
    assert "keras" in told and "Graphviz" in told and "against CPU: relu" in told
    assert status == (0 if "WRONG" not in told else 1)


# The pages


CARDS = {
    "08_MNIST_autoencoder": {
        "metrics": {"test_mse_dense": {"value": 0.00976, "unit": "", "expected": [0.009, 0.0105]}},
        "data": [{"name": "MNIST", "source": "real", "counts": {"train": 60000, "test": 10000}}],
        "weights": [],
        "preset": "default",
        "seed": 42,
        "device": "CPU: x, 2 cores",
        "seconds": {"total": 88.2},
    }
}


def test_numbers_come_from_the_cards():
    page = "<!-- card:08_MNIST_autoencoder -->old<!-- /card --> at "
    page += "<!--v 08_MNIST_autoencoder test_mse_dense .3f-->9<!--/v-->."
    english, korean = readme.render(page, CARDS), readme.render(page, CARDS, korean=True)
    assert "| `test_mse_dense` | 0.00976 | 0.009 to 0.0105 |" in english and "88 s on CPU: x, 2 cores" in english
    assert "-->0.010<!--/v-->." in english and "old" not in english
    assert "0.009 ~ 0.0105" in korean and "60,000 + 10,000" in korean
    assert readme.render(english, CARDS) == english
    overview = readme.render("<!-- overview --><!-- /overview -->", CARDS)
    link = "[08 · Autoencoder](docs/08_MNIST_autoencoder.md)"
    assert f"{link} | `test_mse_dense` 0.00976 | 88 s |" in overview
    with pytest.raises(StudyError, match="no run card"):
        readme.render("<!-- card:99_none --><!-- /card -->", CARDS)
    with pytest.raises(StudyError, match="no metric"):
        readme.render("<!--v 08_MNIST_autoencoder fid .1f--><!--/v-->", CARDS)


@pytest.mark.parametrize("path", readme.pages(), ids=lambda path: path.name)
def test_every_page_says_what_the_cards_say(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text == readme.render(text, readme.read_cards(), korean=path.name.endswith(".ko.md")), "run `make readme`"


@pytest.mark.parametrize("path", readme.pages(), ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name} points at {target}"


@pytest.mark.parametrize("path", readme.pages(), ids=lambda path: path.name)
def test_no_line_begins_with_a_number(path: Path):
    """A comment at the beginning of a line ends a paragraph, and Markdown leaves what follows as it is."""
    assert not re.search(r"^\s*<!--v ", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", readme.pages(), ids=lambda path: path.name)
def test_formulas_and_code_are_closed(path: Path):
    """Beside Korean letters GitHub reads $`x`$, but one backtick too many turns the words after it into code."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "`$`" not in text
    for paragraph in re.sub(r"\$`[^`\n]+`\$", "", text).split("\n\n"):
        assert paragraph.count("`") % 2 == 0, paragraph


@pytest.mark.parametrize("page", ["docs/differences.md", "docs/differences.ko.md"])
def test_every_trap_is_guarded_by_a_test_that_exists(page):
    guards = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", (REPOSITORY / page).read_text(encoding="utf-8"))
    assert len(guards) > 10
    for test, file in guards:
        assert f"def {test}(" in (REPOSITORY / "docs" / file).read_text(encoding="utf-8"), f"{file} has no {test}"


@pytest.mark.parametrize("name", [path.stem for path in LESSONS])
def test_every_lesson_is_published_and_described(name):
    card = json.loads((PUBLISHED / name / "run.json").read_text(encoding="utf-8"))
    assert card["preset"] == "default" and card["lesson"] == name
    assert all((PUBLISHED / file).exists() for file in card["files"])
    for ending in (".md", ".ko.md"):
        notes, lessons = ((REPOSITORY / "docs" / f"{page}{ending}").read_text("utf-8") for page in (name, "lessons"))
        assert f"output/{name}.png" in lessons and f"]({name}{ending})" in lessons, f"lessons{ending} has no {name}"
        assert f"card:{name} " in notes
        assert f"docs/{name}{ending}" in (REPOSITORY / f"README{ending}").read_text("utf-8"), "run make readme"


def test_the_readmes_are_short():
    assert (REPOSITORY / "README.md").stat().st_size <= 14_000
    assert (REPOSITORY / "README.ko.md").stat().st_size <= 18_000
