"""The live examples on the pages: their words in both languages, their canvases and controls, their scripts.

A mark `<!-- live: name -->` in the notes becomes the example, if its weights are there (`make site-weights`).
"""

from pathlib import Path

LIVE = Path(__file__).resolve().parents[1] / "live"


def slider(label: str, least: float, most: float, step: float, value: float, more: str = "") -> str:
    """A labelled slider."""
    numbers = f'min="{least}" max="{most}" step="{step}" value="{value}"'
    return f'<label>{label} <input type="range" {numbers}{more and f" {more}"}></label>'


def picture(label: str) -> str:
    """A canvas that shows a picture."""
    return f'<canvas width="280" height="280" role="img" aria-label="{label}"></canvas>'


def figure(label: str) -> str:
    """A canvas with its label below."""
    return f"<figure>{picture(label)}<figcaption>{label}</figcaption></figure>"


def button(label: str) -> str:
    """A button."""
    return f'<button type="button" class="md-button">{label}</button>'


def plane(words: dict) -> str:
    """Lesson 10."""
    plane = f'<canvas width="280" height="280" tabindex="0" role="application" aria-label="{words["plane"]}"></canvas>'
    return f"{plane}\n{picture(words['picture'])}\n<output></output>"


def walk(words: dict) -> str:
    """Lesson 13."""
    return f"{picture(words['picture'])}\n{slider(words['place'], 0, 100, 1, 0)}\n{button(words['other'])}"


def concepts(words: dict) -> str:
    """Lesson 11."""
    pictures = figure(words["plain"]) + figure(words["moved"])
    sliders = "\n".join(slider(label, -2, 2, 0.25, 0, f'name="{name}"') for name, label in words["concepts"].items())
    choice = slider(words["face"], 0, 5, 1, 0)
    return f'{pictures}\n{choice}\n<div class="sliders">{sliders}</div>\n{button(words["reset"])}\n<output></output>'


def guidance(words: dict) -> str:
    """Lesson 26."""
    classes = "\n".join(button(label) for label in words["classes"])
    return f"""{figure(words["way"])}{figure(words["end"])}
<output data-text="{words["told"]}"></output>
{slider(words["weight"], 0, 5, 0.5, 1)} {button(words["other"])}
<div class="buttons" role="group" aria-label="{words["class"]}">{classes}</div>"""


def sampling(words: dict) -> str:
    """Lesson 15."""
    controls = (
        (words["temperature"], 0, 2, 0.05, 0.7),
        (words["top_k"], 0, 100, 1, 0),
        (words["top_p"], 0.05, 1, 0.05, 1),
    )
    sliders = "\n".join(slider(*control).replace("</label>", " <span></span></label>") for control in controls)
    heads = "".join(f'<th scope="col">{words[name]}</th>' for name in ("token", "model", "sampler"))
    return f"""<label>{words["prompt"]} <input type="text" value="This film is" autocomplete="off"></label>
<div class="sliders">{sliders}</div>
{button(words["one"])} {button(words["many"])} {button(words["again"])}
<output class="text" lang="en"></output>
<table class="shares"><thead><tr>{heads}</tr></thead><tbody lang="en"></tbody></table>
<output class="told" data-text="{words["told"]}"></output>"""


ATTRIBUTES = ("Eyeglasses", "Blond_Hair", "Mustache", "Smiling", "Wearing_Hat", "Bangs", "Mouth_Slightly_Open")
CONCEPTS = {
    "en": ("glasses", "blond hair", "moustache", "smile", "hat", "fringe", "mouth open"),
    "ko": ("안경", "금발", "콧수염", "미소", "모자", "앞머리", "벌린 입"),
}
GARMENTS = {
    "en": ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    "ko": ("티셔츠", "바지", "풀오버", "드레스", "코트", "샌들", "셔츠", "운동화", "가방", "앵클부츠"),
}
WORDS = {
    "plane": {
        "en": {
            "help": "Touch, drag, or use the arrow keys: your browser decodes the point on the plane of latent codes. "
            "The circles are one, two and three standard deviations of the prior.",
            "plane": "plane of latent codes",
            "picture": "the decoded digit",
        },
        "ko": {
            "help": "누르거나 끌거나 화살표 키를 쓴다. 브라우저가 잠재 평면의 점을 바로 디코딩한다. "
            "원은 사전 분포의 표준 편차 1, 2, 3배다.",
            "plane": "잠재 평면",
            "picture": "디코딩한 숫자",
        },
    },
    "concepts": {
        "en": {
            "help": "Each slider adds a multiple of a concept vector to the latent vector of a drawn test face, "
            "and your browser decodes the sum.",
            "plain": "the face, decoded",
            "moved": "with concepts",
            "face": "drawn face",
            "reset": "all to zero",
            "concepts": dict(zip(ATTRIBUTES, CONCEPTS["en"], strict=True)),
        },
        "ko": {
            "help": "슬라이더마다 개념 벡터의 몇 배를 테스트용 그린 얼굴의 잠재 벡터에 더한다. "
            "합은 브라우저가 바로 디코딩한다.",
            "plain": "얼굴을 디코딩한 것",
            "moved": "개념을 더한 것",
            "face": "그린 얼굴",
            "reset": "모두 0으로",
            "concepts": dict(zip(ATTRIBUTES, CONCEPTS["ko"], strict=True)),
        },
    },
    "walk": {
        "en": {
            "help": "The slider moves along a great circle between two random latents. "
            "The generator runs in your browser.",
            "place": "position on the path",
            "picture": "the generated garment",
            "other": "other latents",
        },
        "ko": {
            "help": "슬라이더는 무작위 잠재 벡터 두 개를 잇는 대원을 따라 움직인다. 생성기는 이 브라우저에서 실행된다.",
            "place": "경로 위의 위치",
            "picture": "생성된 옷",
            "other": "다른 잠재 벡터",
        },
    },
    "sampling": {
        "en": {
            "help": "The ten most likely next tokens of the text: their probabilities by the model, and by the "
            "sampler with these settings. The language model runs in your browser, its weights rounded to 93 levels.",
            "prompt": "prompt",
            "temperature": "temperature",
            "top_k": "top-k (0: all)",
            "top_p": "top-p",
            "one": "draw a token",
            "many": "draw 30",
            "again": "back to the prompt",
            "token": "next token",
            "model": "model",
            "sampler": "sampler",
            "told": "[count] tokens can be drawn; the forward pass took [milliseconds] ms",
        },
        "ko": {
            "help": "다음 토큰으로 가장 유력한 열 개다. 모델이 준 확률과, 이 설정의 샘플러가 뽑을 확률을 "
            "나란히 보인다. 언어 모델은 이 브라우저에서 실행되며, 가중치는 93단계로 반올림했다.",
            "prompt": "프롬프트",
            "temperature": "온도",
            "top_k": "top-k (0: 전부)",
            "top_p": "top-p",
            "one": "토큰 하나 뽑기",
            "many": "30개 뽑기",
            "again": "프롬프트로 돌아가기",
            "token": "다음 토큰",
            "model": "모델",
            "sampler": "샘플러",
            "told": "뽑힐 수 있는 토큰 [count]개. 순전파 한 번에 [milliseconds] ms",
        },
    },
    "guidance": {
        "en": {
            "help": "Choose a class: the garment is made from noise in eight steps of Heun's method, here in your "
            "browser. Then move w, the weight of the guidance: the noise stays the same.",
            "way": "the point x at time t",
            "end": "the garment expected from there",
            "class": "class",
            "classes": GARMENTS["en"],
            "weight": "guidance w",
            "other": "other noise",
            "told": "w = [w] · t = [t] · evaluations of the network: [count] · [milliseconds] ms each",
        },
        "ko": {
            "help": "클래스를 고르면 잡음에서 의류가 만들어진다. 호인 방법 여덟 스텝을 이 브라우저가 계산한다. "
            "그다음 가이던스의 가중치 w를 움직여 본다. 잡음은 그대로다.",
            "way": "시간 t의 점 x",
            "end": "그 점에서 예상되는 의류",
            "class": "클래스",
            "classes": GARMENTS["ko"],
            "weight": "가이던스 w",
            "other": "다른 잡음",
            "told": "w = [w] · t = [t] · 신경망 호출 [count]번 · 호출마다 [milliseconds] ms",
        },
    },
}
FORMS = {"plane": plane, "concepts": concepts, "walk": walk, "sampling": sampling, "guidance": guidance}
WEIGHTS = {"plane": "10", "concepts": "11", "walk": "13", "sampling": "15", "guidance": "26"}


def example(name: str, language: str, root: str) -> str:
    """An example as HTML, for a page from which `root` leads to the site's own folder."""
    if not (LIVE / f"{WEIGHTS[name]}.js").is_file():
        return ""  # until `make site-weights`
    words = WORDS[name][language]
    files = ("engine", WEIGHTS[name], "examples")
    scripts = "".join(f'<script src="{root}live/{file}.js"></script>' for file in files)
    return f'<div class="live" data-live="{name}">{FORMS[name](words)}<p>{words["help"]}</p></div>{scripts}'
