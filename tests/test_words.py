"""Words and claims: plain terms in both languages, true names of data, two languages that agree, commands that run."""

import json
import math
import re
import shlex
import typing
from collections import Counter
from pathlib import Path

from lessonkit import config, datasets, judges
from lessonkit import run as lesson

import matplotlib.pyplot as plt
import pytest
from conftest import LESSONS, REAL_NAMES, REPOSITORY, load_lesson
from matplotlib.text import Text
from PIL import Image

PAGES = sorted([*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md")])
KOREAN = [path for path in PAGES if path.name.endswith(".ko.md")]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
REVIEWS = REPOSITORY / "src/lessonkit/datasets/embedded/reviews.py"  # its words are those of reviewers
CARDS = sorted((REPOSITORY / "output").glob("*/run.json"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


# Words. Each pattern stands for a plain term, which is named beside it.

ENGLISH = {
    r"\bnought\b": "zero",
    r"\brubbish\b": "noise",
    r"\brightly\b": "correctly",
    r"\bdear(?:er|est)?\b": "penalised heavily",
    r"\bby heart\b": "memorise",
    r"\bnats an?\b": "nats per",
    r"\bschoolbooks?\b": "finite differences",
    r"\bparts? company\b": "diverge",
    r"\bcommoner\b": "majority class",
    r"\bwithout a bend\b": "without a nonlinearity",
    r"\bthousand million\b": "500 million",
    r"\bmeans for (?:its |the )?maxima\b": "average instead of max pooling",
    r"\btaken for (?:what|which|each other|one another)\b": "confused with, confusion matrix",
    r"\bclasses come\b|\bdigits come\b": "are generated",
    r"\bthe house\b": "the repository",
    r"\bbut for\b": "except for",
    r"[,;] for (?:it|they|we|he|she|there|nobody)\b": "because",
    r"\bsay(?:s)? of (?:itself|themselves)\b": "report",
    r"\bthe way back\b": "the backward pass",
    r"\bbr(?:ing|ings|ought) (?:\w+ ){0,4}home\b": "return",
    r"\b(?:network|generator|discriminator|model|encoder|decoder|layer|player)s? (?:wants?|listens?)\b": "(a fact)",
    r"\bsees? through\b": "recognises",
    r"\bby courtesy\b": "strictly speaking",
}
# A GAN's training step is a step, not a round of a game.
ENGLISH_OF_GANS = {r"\b(?:a|each|every|per|one|first|last|next|whole) round\b|\brounds\b": "step"}
NAMES = {"think", "crowd", "known", "made", "look", "rounds", "looks"}  # for what the field has a name
KOREAN_WORDS = {
    r"복원(?! ?추출)": "재구성",
    r"더미(?! ?(?:변수|데이터|코드))": "층 스택",
    r"읽개": "중간층 출력 모델",
    r"포괄": "클래스 커버리지",
    r"화풍 ?변환": "스타일 전이",
    r"기울기 ?벌점": "그래디언트 페널티",
    r"포화하지 않는": "비포화",
    r"핵 ?샘플링": "뉴클리어스 샘플링",
    r"탐침": "프로브",
    r"(?<![가-힣])우도|(?:로그|최대|음의) ?우도": "가능도",
    r"(?:바둑|체스)판": "체커보드",
    r"(?<![가-힣])대용(?!량)": "대체",
    r"걸음": "스텝",
    r"(?<![A-Za-z])nats?(?![A-Za-z])": "내트",
    r"예의상": "엄밀히는",
    r"제 편에": "올바르게 분류한다",
    r"귀 ?기울": "(a fact)",
    r"집의 구조": "저장소 구조",
    r"조용해지는": "기울기 소실",
    r"스스로 하는 말": "손실과 정확도",
    r"완벽한 복사본도": "완벽히 재구성해도",
    r"놀라게 한": "예측하기 어렵다",
    r"그림을 거친 셈": "이미지를 거친 벡터 연산 검증",
    r"(?<![가-힣])라운드": "스텝",
}


def prose(text: str) -> str:
    """A page without tables from the cards, code, formulas and addresses; line breaks stay where they are."""
    hidden = (
        r"<!-- (card:\w+|overview) -->.*?<!-- /(?:card|overview) -->",
        r"^```.*?^```$",
        r"`[^`\n]*`",
        r"\$[^$\n]*\$",
        r"\]\([^)\n]*\)",
        r"<!--v [^>]*-->",
    )
    for pattern in hidden:
        text = re.sub(pattern, lambda match: "\n" * match[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    return text


def found(text: str, words: dict[str, str]) -> list[str]:
    """Where the words occur: 'line: what is written -> what to write'. A phrase may be broken between two lines."""
    hits = []
    for pattern, better in words.items():
        for match in re.finditer(pattern.replace(" ", r"\s+(?:#\s+)?"), text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            hits.append(f"{line}: {' '.join(match[0].split())} -> {better}")
    return sorted(hits, key=lambda hit: int(hit.split(":")[0]))


def is_of_a_gan(path: Path) -> bool:
    return path.name[:2] in ("12", "13", "14")


@pytest.mark.parametrize("path", [path for path in SOURCES + PAGES if path != REVIEWS], ids=name_of)
def test_english_is_plain(path: Path):
    text = path.read_text(encoding="utf-8")
    words = ENGLISH | (ENGLISH_OF_GANS if is_of_a_gan(path) else {})
    hits = found(prose(text) if path.suffix == ".md" else text, words)
    if path.suffix == ".py":
        names = re.findall(
            r"^\s*(?:def|class) (\w+)|^\s*(\w+)(?:: [\w\[\], .|]+)? = |\bfor (\w+) in ", text, re.MULTILINE
        )
        hits += [f"a name: {name}" for name in sorted(NAMES & {part for parts in names for part in parts})]
    assert not hits, f"{name_of(path)}:\n" + "\n".join(hits)


@pytest.mark.parametrize("path", KOREAN, ids=name_of)
def test_korean_uses_one_term_for_one_thing(path: Path):
    hits = found(prose(path.read_text(encoding="utf-8")), KOREAN_WORDS)
    assert not hits, f"{name_of(path)}:\n" + "\n".join(hits)


def test_the_words_are_found_where_they_stand_and_nowhere_else():
    assert found("it falls\nto nought; part\n# company", ENGLISH) == [
        "2: nought -> zero",
        "2: part # company -> diverge",
    ]
    assert not found("We endear the household; nothing but, for example, a house. For it is wanted.", ENGLISH)
    assert not found("대용량 배치에서 복원 추출한 확대용 표본, 경우도 있다. signature", KOREAN_WORDS)
    assert len(found("우도와 로그 우도, 대용 데이터, 2.3 nat", KOREAN_WORDS)) == 4
    assert prose("a `nought`\n$2 \\text{nats}$ [b](nats) <!-- card:x -->\n1 nats\n<!-- /card --> c").split() == [
        "a",
        "[b",
        "c",
    ]


def test_terms_of_the_field_are_introduced():
    text = "\n".join(path.read_text(encoding="utf-8").lower() for path in PAGES if path not in KOREAN)
    korean = "\n".join(path.read_text(encoding="utf-8") for path in KOREAN)
    for term in ("vanishing gradient", "mode collapse", "posterior collapse", "spherical", "slerp", "early stopping"):
        assert term in text, term
    for term in ("기울기 소실", "모드 붕괴", "사후 붕괴", "구면", "slerp", "조기 종료", "과적합"):
        assert term in korean, term


# Two languages


@pytest.mark.parametrize("korean", KOREAN, ids=name_of)
def test_both_languages_have_the_same_parts(korean: Path):
    other = korean.with_name(korean.name.replace(".ko.md", ".md")).read_text(encoding="utf-8")
    text = korean.read_text(encoding="utf-8")
    for what, pattern in {
        "headings": r"^(#+) ",
        "images": r"!\[[^\]]*\]\(([^)]*)\)",
        "values": r"(<!--v \w+ \w+ \S*?-->)",
        "cards": r"(<!-- card:\w+ -->|<!-- overview -->)",
        "formulas": r"^(```math)$",
        "tests": r"\[`(test_\w+)`\]",
        "flags": r"(?<![\w-])(--[a-z][a-z-]*)",
    }.items():
        one, two = (re.findall(pattern, page, re.MULTILINE) for page in (other, text))
        if what not in ("headings", "images"):  # sentences may stand in another order
            one, two = sorted(one), sorted(two)
        if what == "flags":
            one, two = sorted(set(one)), sorted(set(two))
        assert one == two, (
            f"{what}: {Counter(one) - Counter(two)} only in English, {Counter(two) - Counter(one)} in Korean"
        )


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_tests_that_a_page_names_exist(path: Path):
    for name, file in re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        assert f"def {name}(" in (path.parent / file).read_text(encoding="utf-8"), f"{file} has no {name}"


# Names of data, and what the published cards say


@pytest.mark.parametrize(
    "load", [datasets.mnist, datasets.fashion_mnist, datasets.cifar10, datasets.celeba, datasets.imdb]
)
def test_a_stand_in_never_has_the_name_of_the_data_it_stands_for(load, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(judges, "STEPS", 1)
    flags = ["--data", "embedded", "--limit", "60", "--output-dir", str(tmp_path), "--device", "cpu"]
    with lesson.run("99_test.py", config.Config, {}, flags) as run:
        data = load(run)
        said = [data.name, data.things, run.small_print(), json.dumps(run.data)]
        if isinstance(data, datasets.LabelledImages):
            said.append(judges.judge(run, data).name)
            assert said[-1].endswith(data.name)
        assert run.data[0]["name"] == data.name and run.data[0]["source"] == "embedded"
    said.append(capsys.readouterr().out)
    assert not re.findall(REAL_NAMES, "\n".join(said))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_a_published_card_calls_no_stand_in_by_a_real_name(path: Path):
    card = json.loads(path.read_text(encoding="utf-8"))
    drawn = [entry for entry in card["data"] if entry["source"] == "embedded"]
    real = [entry["name"] for entry in card["data"] if entry["source"] == "real"]
    said = [entry["name"] for entry in drawn]
    if drawn and not real:
        said += [entry["name"] for entry in card["weights"]] + [metric["unit"] for metric in card["metrics"].values()]
    assert not re.findall(REAL_NAMES, "\n".join(said)), said


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_a_published_card_lies_in_its_own_ranges(path: Path):
    metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    assert any(metric["expected"] for metric in metrics.values())
    for name, metric in metrics.items():
        assert metric["value"] is not None and math.isfinite(metric["value"]), name
        if metric["expected"]:
            low, high = metric["expected"]
            assert low <= metric["value"] <= high, f"{name}: {metric['value']} is not in {low} to {high}"


# Commands that scripts and pages suggest

FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")
VALUE = re.compile(r"""\s+(?:\#\s+)?("[^"]*"|'[^']*'|[^\s`"']+)""")
END = ":,;.)`?"


def takes_values(module, flag: str) -> str:
    """'none' for a switch, 'many' for a flag that takes several values, else 'one'."""
    hints = typing.get_type_hints(module.Config)
    name = flag[2:].replace("-", "_")
    if hints.get(name) is bool or hints.get(name.removeprefix("no_")) is bool:
        return "none"
    return "many" if typing.get_origin(hints.get(name)) is tuple else "one"


def commands(module, text: str) -> list[list[str]]:
    """The commands that a text suggests: flags that follow each other make one; '--beta 4, then 0.1' makes two."""
    found, current, after = [], [], None
    for match in FLAG.finditer(text):
        if current and text[after : match.start()].strip(" \n#"):
            found.append(current)
            current = []
        flag, after, kind = match[1], match.end(), takes_values(module, match[1])
        current.append(flag)
        while kind != "none" and (value := VALUE.match(text, after)) and not value[1].startswith("--"):
            if kind == "many" and current[-1] != flag and "=" not in value[1]:
                break
            current.append(value[1].rstrip(END).strip("\"'"))
            after = value.start(1) + len(value[1].rstrip(END))
            if kind == "one" or value[1][-1] in END:
                break
        alternative = re.match(r",\s+(?:#\s+)?(?:then|or)\s+(-?\d[\d.]*(?:e-?\d+)?)(?=[\s:,;.?])", text[after:])
        if alternative and len(current) > 1:
            found.append(list(current))
            current = [*current[:-1], alternative[1].rstrip(END)]
            after += alternative.end()
    return [*found, current] if current else found


def suggestions(script: Path) -> list[list[str]]:
    """The commands under 'What to try next' at the end of a lesson."""
    text = script.read_text(encoding="utf-8")
    assert text.count("\n# What to try next\n") == 1
    return commands(load_lesson(script.stem), text.split("\n# What to try next\n")[1])


def test_commands_are_read_from_text():
    module = load_lesson("10_MNIST_VAE")
    text = "# 1. --beta 4, then 0.1: which?\n# 2. --latent-dim 10 --epochs\n#    3. Or --resume and more. `--seed 3`?"
    assert commands(module, text) == [
        ["--beta", "4"],
        ["--beta", "0.1"],
        ["--latent-dim", "10", "--epochs", "3"],
        ["--resume"],
        ["--seed", "3"],
    ]


@pytest.mark.parametrize("script", LESSONS, ids=[path.stem for path in LESSONS])
def test_suggested_commands_can_be_parsed(script: Path):
    module = load_lesson(script.stem)
    for command in suggestions(script):
        config.parse(module.Config, module.PRESETS, command, script.name, "")
    for page in (f"{script.stem}.md", f"{script.stem}.ko.md"):
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        for span in re.findall(r"`((?:python src/\w+\.py )?--[^`]+)`", text):
            program, *arguments = shlex.split(span) if span.startswith("python") else ["", *shlex.split(span)]
            other = load_lesson(Path(arguments.pop(0)).stem) if program == "python" else module
            if any(flag.startswith("--") and takes_values(other, flag) != "none" for flag in arguments[-1:]):
                continue  # only a flag's name
            config.parse(other.Config, other.PRESETS, arguments, page, "")


@pytest.mark.slow
@pytest.mark.parametrize("script", LESSONS, ids=[path.stem for path in LESSONS])
def test_suggested_commands_run_and_figures_call_no_stand_in_by_a_real_name(script: Path, tmp_path, monkeypatch):
    """In smoke mode, on stand-ins; the reader's own pictures are small, of 4:3. Figures are drawn, but not saved."""
    written = []

    def figure(run: lesson.Run, name: str, drawn, headline: bool = False) -> None:
        written.extend([*(text.get_text() for text in drawn.findobj(Text)), run.small_print()])
        plt.close(drawn)

    def gif(run: lesson.Run, name: str, frames, seconds: float = 6.0) -> None:
        assert len({frame.shape for frame in frames}) == 1

    monkeypatch.setattr(lesson.Run, "figure", figure)
    monkeypatch.setattr(lesson.Run, "gif", gif)
    monkeypatch.setattr(lesson.Run, "diagram", lambda *arguments, **options: None)
    Image.effect_mandelbrot((133, 100), (-2, -1.2, 1, 1.2), 20).convert("RGB").save(tmp_path / "own.jpg")
    flags = ["--preset", "smoke", "--device", "cpu", "--data", "embedded"]
    commands = suggestions(script) or [[]]
    if any("--generate-only" in command for command in commands):
        commands.insert(0, [])  # trains the model that these commands use
    for command in commands:
        own = [str(tmp_path / "own.jpg") if value.endswith(".jpg") else value for value in command]
        own = [re.sub(r"^mixed\d", "relu3", value) for value in own]  # the stand-in for Inception has other layers
        load_lesson(script.stem).main([*flags, "--output-dir", str(tmp_path / "output"), *own])
    assert written and not [text for text in written if re.search(REAL_NAMES, text)]
