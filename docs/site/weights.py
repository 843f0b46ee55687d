"""`make site-weights`: the networks of the live examples, from the checkpoints that the lessons' own runs left.

Each becomes docs/live/NN.js: the graph, the weights, what else its example needs, and which run made them. For
`make test-site`, ten inputs are kept with the outputs that Keras computes from the weights as they are stored.

    python docs/site/weights.py [--output-dir FOLDER] [NN ...]

A run in another folder than output/ must be the published one again: its metrics are compared.
"""

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from lessonkit import text, training
from lessonkit.config import PUBLISHED, REPOSITORY
from lessonkit.datasets.celeba import draw_faces

import keras
import network
import numpy as np

LIVE = REPOSITORY / "docs" / "live"
GOLDEN = REPOSITORY / "tests" / "site" / "golden"
LARGEST = 1_500_000  # bytes per file
ROUNDING = 1e-3  # by what part a metric of the same run may differ


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run left in its folder, and the lesson that ran."""

    lesson: ModuleType
    folder: Path
    card: dict

    @property
    def settings(self):
        """The lesson's Config, as the run had it."""
        names = {field.name for field in dataclasses.fields(self.lesson.Config)}
        settings = {name: value for name, value in self.card["config"].items() if name in names}
        tuples = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
        return self.lesson.Config(**settings | tuples)

    def restore(self, checkpoint: str, variables: list) -> None:
        """Give the variables the values at the end of the run."""
        path = self.folder / "checkpoints" / f"{checkpoint}.npz"
        if training.Checkpoint(path, {}).restore(variables) is None:
            raise SystemExit(f"site-weights: no {path}; run the lesson first")


def find_run(number: str, output_dir: Path) -> Run:
    """The run of a lesson in this folder."""
    name = next((REPOSITORY / "src").glob(f"{number}_*.py")).stem
    card = read_card(output_dir / name)
    differing = differences(card["metrics"], read_card(PUBLISHED / name)["metrics"])
    if differing:
        raise SystemExit(f"site-weights: {output_dir / name} is another run than the published one: {differing}")
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "src" / f"{name}.py")
    lesson = importlib.util.module_from_spec(spec)
    sys.modules[name] = lesson
    spec.loader.exec_module(lesson)
    return Run(lesson, output_dir / name, card)


def read_card(folder: Path) -> dict:
    """The run card of a lesson's folder."""
    path = folder / "run.json"
    if not path.is_file():
        raise SystemExit(f"site-weights: no {path}; run the lesson first")
    return json.loads(path.read_text(encoding="utf-8"))


def differences(metrics: dict, published: dict) -> str:
    """Which metrics differ, those of speed left out."""
    values = [{name: metric["value"] for name, metric in each.items()} for each in (metrics, published)]
    pairs = {name: [each.get(name, np.nan) for each in values] for name in {**values[0], **values[1]}}
    slow = {name for name in pairs if "second" in name}
    different = [name for name in pairs.keys() - slow if not np.isclose(*pairs[name], rtol=ROUNDING)]
    return ", ".join(f"{name} {pairs[name][0]:.5g} for {pairs[name][1]:.5g}" for name in sorted(different))


def rounded(array: np.ndarray, digits: int = 5) -> list[float]:
    """All values, with so many significant digits."""
    return [float(f"{value:.{digits}g}") for value in np.ravel(array)]


def write(run: Run, graph: network.Graph, inputs: Sequence, outputs: Sequence, every: int = 1, **more) -> None:
    """One classic script, which a page that is opened from a folder can load, and what Keras answers to ten inputs.

    Args:
        inputs: for each of the ten the arrays of the network's inputs.
        outputs: what Keras makes of them; of long ones, one value of `every` so many is kept.
        more: whatever else the example needs; `levels` says how the weights are stored.
    """
    name = run.folder.name[:2]
    made = {"lesson": run.folder.name, "data": run.card["data"][0]["name"]}
    made |= {key: run.card[key] for key in ("seed", "preset")}
    content = graph.stored(more.pop("levels", False)) | more | {"made": made}
    script = f"live.models[{json.dumps(name)}] = {json.dumps(content, separators=(',', ':'), ensure_ascii=False)};\n"
    size = len(script.encode())
    assert size <= LARGEST, f"{name}: {size:,} bytes"
    LIVE.mkdir(exist_ok=True)
    (LIVE / f"{name}.js").write_text(script, encoding="utf-8")
    rows = [[rounded(array) for array in arrays] for arrays in inputs]
    golden = {"inputs": rows, "every": every, "outputs": [rounded(np.ravel(output)[::every]) for output in outputs]}
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    print(f"wrote docs/live/{name}.js, {size:,} bytes")


def write_model(run: Run, model: keras.Model, *inputs: np.ndarray, **more) -> None:
    """A functional model, and ten examples of each of its inputs (10, ...)."""
    network.round_weights(model)
    graph = network.Graph()
    graph.add_model(model)
    inputs = [np.array([rounded(row) for row in array], "float32").reshape(array.shape) for array in inputs]
    outputs = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    write(run, graph, list(zip(*inputs, strict=True)), outputs, **more)


def plane(run: Run) -> None:
    """The decoder of the VAE with two latent dimensions."""
    vae = run.lesson.build_vae(run.settings)
    run.lesson.compile_vae(vae, run.settings, steps=1)
    run.restore("model", training.state(vae)[0])
    write_model(run, vae.decoder, np.random.default_rng(0).normal(size=(10, 2)))


def concepts(run: Run) -> None:
    """The decoder of the VAE of faces, the latent vectors of six test faces, and the concept vectors."""
    settings = run.settings
    vae = run.lesson.build_vae(settings)
    vae.compile(keras.optimizers.Adam(training.warm_up_cosine(1, 2, 1)))
    run.restore("model", training.state(vae)[0])
    faces = draw_faces(run.card["data"][0]["counts"])
    latents = {part: run.lesson.encode(vae, split.images) for part, split in faces.items()}
    bare = np.flatnonzero(~(faces["test"].attributes["Wearing_Hat"] | faces["test"].attributes["Eyeglasses"]))[:6]
    vectors = [
        run.lesson.concept_vector(latents["train"], faces["train"].attributes[name]) for name in settings.attributes
    ]
    stored = {"faces": [rounded(latents["test"][face], 4) for face in bare]}
    stored["concepts"] = dict(zip(settings.attributes, (rounded(vector, 4) for vector in vectors), strict=True))
    write_model(run, vae.decoder, latents["test"][:10], every=13, **stored)


def walk(run: Run) -> None:
    """The averaged generator of the DCGAN."""
    gan = run.lesson.DCGAN(run.settings, 1)
    run.restore("dcgan", gan.variables)
    write_model(run, gan.averaged, np.random.default_rng(0).normal(size=(10, run.settings.latent_dim)))


def sampling(run: Run) -> None:
    """The language model, and its vocabulary."""
    model = keras.saving.load_model(run.folder / "checkpoints" / "model.keras", compile=False)
    network.round_weights(model, levels=True)
    embeddings, *blocks, normalise, logits = model.layers[1:]
    graph = network.Graph()
    place = graph.add("input", shape=[0])
    width, length, vocabulary = (embeddings.settings[name] for name in ("width", "length", "vocabulary"))
    place = graph.add("embedding", [place], embeddings.weights, width=width)
    for block in blocks:
        place = add_block(graph, block, place)
    place = graph.add("last_row", [graph.add_layer(normalise, [place])])
    graph.add_layer(logits, [place])
    prompts = ("this is", "the film", "i", "a great actor and", "it was the worst", "the story of", "he", "she is not")
    prompts += ("for the first time", "one of the best films that")
    tokens = [
        text.prompt_ids(text.prompt_tokens(prompt), vocabulary, length, lambda _: None).ravel() for prompt in prompts
    ]
    outputs = [np.asarray(model(each[None]))[0, -1] for each in tokens]
    inputs = [[each] for each in tokens]
    write(run, graph, inputs, outputs, every=29, levels=True, vocabulary=vocabulary, length=length)


def add_block(graph: network.Graph, block, place: int) -> int:
    """The nodes of a block of lesson 15."""
    projected = graph.add_layer(block.project, [graph.add_layer(block.before_attention, [place])])
    attended = graph.add("attention", [projected], heads=block.settings["heads"])
    place = graph.add("add", [place, graph.add_layer(block.merge, [attended])])
    hidden = graph.add_layer(block.hidden, [graph.add_layer(block.before_network, [place])])
    return graph.add("add", [place, graph.add_layer(block.out, [hidden])])


def guidance(run: Run) -> None:
    """The averaged network of flow matching."""
    flow = run.lesson.FlowMatching(run.settings)
    run.restore("flow", flow.variables)
    random = np.random.default_rng(0)
    points, times = random.normal(size=(10, 28, 28, 1)), np.linspace(0, 0.95, 10)[:, None]
    classes = np.concatenate([np.eye(10)[:9], np.zeros((1, 10))])
    write_model(run, flow.averaged, points, times, classes)
    settings = {"sampler": "heun", "sampling_steps": 8, "guidance": 3}
    noise = np.array([rounded(row) for row in points[:2]], "float32").reshape(-1, 28, 28, 1)
    ends = flow.flow(noise, run.lesson.one_hot(np.array([1, 8])), **settings)
    path = GOLDEN / "26.json"  # the whole way from noise to garments of two classes, too
    golden = json.loads(path.read_text(encoding="utf-8")) | {"ways": [rounded(end) for end in ends]}
    path.write_text(json.dumps(golden) + "\n", encoding="utf-8")


EXAMPLES = {"10": plane, "11": concepts, "13": walk, "15": sampling, "26": guidance}


def main(argv: Sequence[str] | None = None) -> None:
    """The examples that are named, or all whose run is there."""
    parser = argparse.ArgumentParser(description="the networks of the live examples, from the lessons' checkpoints")
    parser.add_argument("numbers", nargs="*", metavar="NN", help=f"of {', '.join(EXAMPLES)}; without any, all")
    parser.add_argument("--output-dir", type=Path, default=PUBLISHED, help="where the lessons' runs are")
    arguments = parser.parse_args(argv)
    unknown = [number for number in arguments.numbers if number not in EXAMPLES]
    if unknown:
        parser.error(f"no live example of lesson {', '.join(unknown)}")
    for number in arguments.numbers or EXAMPLES:
        if arguments.numbers or [*arguments.output_dir.glob(f"{number}_*/checkpoints")]:
            EXAMPLES[number](find_run(number, arguments.output_dir))
        else:
            print(f"no checkpoints of lesson {number} in {arguments.output_dir}: its example stays as it is")


if __name__ == "__main__":
    main()
