"""Garments drawn by code: a stand-in for Fashion-MNIST, in the same format, for readers without a network.

A garment is a handful of words ("long", "body", "vee", "disc"), one from each slot of its class; a word is a few
strokes; a random warp of the coordinates then makes it wide or narrow, long or short, flat or high-heeled.
Coordinates are pixels of the final image, x to the right, y down; tones are factors of the garment's own grey.
"""

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIDE, FINE = 28, 4  # drawn FINE times larger, then averaged down: that is the antialiasing
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5

# For each class its slots in drawing order, the fabric last; a word written twice is picked twice as often, and a word
# that WORDS does not have draws nothing.
SLOTS = (
    "short short short half none / body / round round vee boat scoop / none none none disc hoop gem text label / "
    "plain plain plain plain melange stripes print fade",
    "slim straight straight flared / jeans jeans creases / plain plain plain melange fade print",
    "long / body / round round round boat vee roll / ribs / none none none disc text label / "
    "plain plain plain melange stripes bands print",
    "none none none short half long / body / round vee boat scoop / none belt pleats / plain melange print stripes",
    "long / body / lapel lapel hood roll collar / zip zip open double / plain plain plain plain melange melange bands",
    "thong slide cage cage cross cross / buckle sling sling none / sole / plain plain melange",
    "long long short half / body / buttons / collar collar vee / pocket none / plain plain pins plaid print melange",
    "runner runner pump / panel swoosh none / laces laces none / bars swoosh toe none / sole / plain melange fade",
    "arch bow twin strap none / box tote moon clutch / flap point seam belts none / plate none none / "
    "plain plain plain melange print bands",
    "ankle ankle shaft / elastic side eyelets none / sole / plain plain melange",
)
# For each class lowest and highest width at heights 0, 9, 16 and 28, reach of the sleeves, length, height of the heel.
TOP, SHOE = (0.88, 1.08, 0.88, 1.1, 0.85, 1.1, 0.92, 1.08, 0.6, 1.05, 0.94, 1, 0, 0), (1,) * 10 + (0.8, 1.15)
DRESS = (0.65, 0.85, 0.6, 0.8, 0.5, 0.75, 0.6, 1.3, 0.7, 1.2, 0.98, 1, 0, 0)
TROUSER = (0.75, 1, 0.75, 1.05, 0.7, 1.15, 0.6, 1.2, 1, 1, 0.93, 1, 0, 0)
BAG = (0.75, 1, 0.85, 1.02, 0.85, 1.02, 0.8, 1.02, 1, 1, 0.75, 1.1, 0, 0)
WARPS = (TOP, TROUSER, TOP, DRESS, TOP, (*SHOE, -2, 10), TOP, (*SHOE, 0, 1), BAG, (*SHOE, -2, 7))
FLOORS = (0, 0, 0, 0, 0, 24, 0, 24, 27, 24)  # the height that a change of length leaves alone: a sole, a bag's bottom

# word: stroke; stroke | word: ... A stroke is a tool, a tone, a width ("?" leaves either to chance), points x,y: fill
# is a smooth outline, cut one with corners; oval and ring have two corners of their box; dots have x,first y and last
# y,count. A plural tool draws the mirror image too. The darker rim under the body becomes its seams.
WORDS = """
short: fills .95 0 15,1 20.3,1.6 22,3 24.8,8 21,9.8 19.5,8.5; lines .8 .4 21,9 24.4,7.2 |
half: fills .95 0 15,1 20.3,1.6 22,3 25.2,13 21.6,14.4 19.6,8.5 |
long: fills .93 0 15,1 20.2,1.4 22,3 23.8,12 25.4,27 22.4,27.6 20.8,16 19.6,8.5; lines .75 .5 22.2,25.2 25.4,24.6 |
body: fills .68 0 10,.8 17,.8 20.9,2 20.4,5 20.4,9 20.1,15 20.6,27.4 20.6,28.2 19.4,28.2 10,28.2;
    fills 1 0 10,.8 17,.8 20.3,1.8 19.9,5 19.6,15 20.1,27.4 20.1,28.2 18.9,28.2 10,28.2 |
round: oval .8 0 10.7,-2 17.3,4; oval .1 0 11.4,-1.7 16.6,2.9 |
boat: oval .8 0 9.2,-1.4 18.8,2.8; oval .1 0 9.9,-1.2 18.1,1.8 |
scoop: oval .8 0 10.4,-6.2 17.6,6.2; oval .1 0 11.1,-5.5 16.9,5.5 |
vee: cut .8 0 10,-1 18,-1 14,7.2; cut .1 0 10.7,-1 17.3,-1 14,5.8 |
roll: fill .85 0 11,-.5 17,-.5 17.8,3.2 10.2,3.2; line .6 .5 10.6,3.2 17.4,3.2 |
hood: oval .8 0 8.8,-2.5 19.2,5.4; oval .3 0 11.2,-2 16.8,4.2; line .6 .5 11.5,4 11.5,9; line .6 .5 16.5,4 16.5,9 |
collar: oval .3 0 11.2,0 16.8,2; cuts 1.18 0 14,2.4 16.8,0 18.2,2.6 16,5.4; lines .55 .5 14,2.4 16,5.4 18.2,2.6 |
lapel: cut .25 0 11,0 17,0 14,9; cuts 1.12 0 14,10.5 16.8,0 18.4,1 18.8,5.5; lines .5 .6 14,10.5 18.8,5.5 18.4,1 |
disc: oval ? 0 10.8,8 17.2,14 | zip: line .6 1.6 14,3.5 14,28; line ? .7 14,3.5 14,28; lines .5 .7 16,17 18.8,20.5 |
gem: cut ? 0 14,7 18,12 14,17 10,12 | double: line .5 .6 16,9 16,28; dots ? .6 12.2,12 22,3; dots ? .6 14.8,12 22,3 |
hoop: ring ? .9 10.6,7.8 17.4,14.2 | pocket: cut .85 0 16.2,9 19,9 19,12.5 16.2,12.5; line .65 .5 16.2,9 19,9 |
text: line ? ? 10.5,9.5 17.5,9.5; line ? ? 11.5,12 16.5,12 |
label: cut ? 0 10,8 18,8 18,12 10,12; line 1 .7 11,10 17,10 | buttons: line .7 .5 15.3,4 15.3,28; dots ? .55 14,5 25,7 |
ribs: line .7 .6 7,26 21,26 | open: cut .15 0 13.6,8 14.4,8 15,28 13,28; lines .5 .7 17,18 19,18 |
belt: line ? ? 7,13 21,13 | pleats: lines .7 .5 15.5,14 15.8,28; lines .7 .5 18,14 18.6,28 |
slim: fills 1 0 12,.2 17.6,.2 18.4,.2 18.4,1 19.4,7 18.4,27 18.4,28 16,28 16,27 15,14 14,10 12,9 |
straight: fills 1 0 12,.2 17.6,.2 18.4,.2 18.4,1 19.6,7 19.8,27 19.8,28 15.8,28 15.8,27 14.6,14 14,10 12,9 |
flared: fills 1 0 12,.2 17.6,.2 18.2,.2 18.2,1 19.2,7 18.6,17 20.6,27.4 20.6,28 16.2,28 16.2,27.4 15.2,16 14,10 12,9 |
jeans: line .6 .5 9.5,1.8 18.5,1.8; line .65 .5 14,1 14,9; lines .6 .5 16.4,2 19,5 |
creases: lines 1.15 1 16.6,6 17.3,26; lines .8 .6 18,8 18.2,26 |
sole: fill ? 0 .5,22 9,22.3 20,22.4 27.5,22 27.5,24 20,24.2 9,24.2 .7,24 | swoosh: line ? 1.1 11,20.5 15,21 23,16.5 |
runner: fill 1 0 .5,23 .8,19.8 5,18.3 10,16.8 15,12.6 17.5,12.4 20,15 24,14.4 27,12.4 27.6,18 27.5,23 |
pump: fill 1 0 .5,23 .8,20.5 5,18.5 10,16.8 13,16 18,17 23,15.5 26.8,13.6 27.4,23 |
laces: line ? .6 9,17.4 11,19; line ? .6 11,16 13,17.8; line ? .6 13,14.4 15,16.4; line .7 .5 20,15 23,16 24,22 |
toe: cut ? 0 .5,23 1.2,20 4.5,18.8 6,23 | thong: line 1 1.7 5,22 8,17.5 16,17 23,22; line 1 1.3 8,17.5 10,22 |
bars: line ? .9 13,21.5 16,16; line ? .9 15.5,21.5 18.5,17 | side: line ? .7 16,7 17,15 19,21; line .75 .5 13,12 24,13 |
panel: cut ? 0 19,17 26.8,15 27,21.8 18,21.8 | slide: fill 1 0 3,22.4 5.5,17.5 11,15.5 15,22.4; line ? .7 7,18 10,21 |
ankle: fill 1 0 .5,23 1.2,19.6 6,18 11,14.6 13,10 12.6,6 25.6,6 25,13 27,19 27.4,23 |
shaft: fill 1 0 .5,23 1.2,19.8 6,18.2 11,15 13.4,10 13.4,-1 25,-1 24.6,13 27,19 27.4,23 |
elastic: cut ? 0 17,7 21.5,7 20.4,15 18.4,15 | sling: line 1 1.4 13,20 20,16 26.8,14 27,22; line 1 1.2 20,16 24,22 |
eyelets: dots ? .6 14.4,8 14,4; line ? .6 8,17.4 10,19.4 |
cage: fill 1 0 2,22.6 4,18.5 10,16 15,17 17,22.6; cut .1 0 5,19.6 8,18.2 8,21.4; cut .1 0 10,18 13,18 14,21.6 |
cross: line 1 1.8 3,22 6,18 12,22; line 1 1.6 6,22 11,17 15,22; line 1 1.2 10,18 16,18.4 20,22 |
buckle: line 1 1.3 26.6,22 25.6,12 19,12.6 20.5,10.6 25.6,12; oval ? 0 19.2,11.2 20.8,12.8 |
box: fill 1 0 1,8.4 27,8.4 27.4,26.6 .6,26.6 | belts: lines ? ? 19,10 19,26; line .7 .5 3,23 25,23 |
tote: cut 1 0 1,9 27,9 24.4,26.8 3.6,26.8 | flap: fill .86 0 1,10 27,10 26,18.6 2,18.6; line .55 .5 2.4,18.4 25.6,18.4 |
moon: fill 1 0 .6,18 4,9 24,9 27.4,18 27,26.6 1,26.6 | strap: line .8 ? 2,12 .8,4 6,1.5 22,1.5 27.2,4 26,12 |
clutch: cut 1 0 .3,9 27.7,9 27.7,26 .3,26 | point: line .5 .7 1.4,10.6 14,18.6 26.6,10.6; oval ? 0 13.1,17.1 14.9,18.9 |
arch: ring .85 ? 8.6,1.4 19.4,16.6 | bow: line .85 ? 9,11 9.5,5 18.5,5 19,11 | plate: cut ? 0 10,16 18,16 18,20 10,20 |
twin: ring .65 .8 10.6,2 19,16.8; ring 1 .9 9,1.4 17.8,17.4 | seam: line ? .8 3,12.4 25,12.4; line .7 .5 4,18 24,18
"""
WEAVES = {"stripes": [(ROWS, 3, 7)], "bands": [(ROWS, 10, 22)], "pins": [(COLUMNS, 2.5, 5)], "fade": [(ROWS, 50, 110)],
          "plaid": [(ROWS, 3.5, 6), (COLUMNS, 3.5, 6)]}  # axis, shortest and longest distance of the stripes
BLOTS = {"print": 0.1, "melange": 0.02}


def _parse(stroke: str) -> list[tuple]:
    """Strokes (tool, tone, width, points (n, 2)) that a text stands for; None for a tone or a width left to chance."""
    tool, *numbers = stroke.split()
    tone, width = (None if number == "?" else float(number) for number in numbers[:2])
    points = np.array([pair.split(",") for pair in numbers[2:]], float)
    if tool == "dots":
        (x, first), (last, count) = points
        heights = np.linspace(first, last, int(count))
        return [("oval", tone, 0, np.array([(x - width, y - width), (x + width, y + width)])) for y in heights]
    for _ in range(2 * tool.startswith("fill")):  # Chaikin's curve: cut the corners twice
        following = np.roll(points, -1, 0)
        points = np.stack([0.8 * points + 0.2 * following, 0.2 * points + 0.8 * following], 1).reshape(-1, 2)
    sides = (points, points * (-1, 1) + (SIDE, 0))[: 1 + tool.endswith("s")]
    return [(tool.removesuffix("s"), tone, width, side) for side in sides]


STROKES = {word.strip(): [part for stroke in strokes.split(";") for part in _parse(stroke)]
           for word, strokes in (entry.split(":") for entry in WORDS.split("|"))}
CHOICES = [[slot.split() for slot in slots.split("/")] for slots in SLOTS]


def _fabric(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Factors (28, 28) for a drawing: soft folds, light from one side, the grain of the cloth, then its pattern."""
    lean, pitch, slant, phase, depth, duty = rng.random(6)
    noise = rng.standard_normal((SIDE, SIDE), np.float32)
    folds = np.sin(COLUMNS * (0.3 + 0.6 * pitch) + ROWS * (0.5 * slant - 0.25) + 6 * phase)
    factors = 1 + 0.024 * (lean - 0.5) * (COLUMNS - 14) + (0.02 + 0.06 * depth) * folds + 0.025 * noise
    if kind in BLOTS:
        pairs = noise + np.roll(noise, 1, 0)
        factors *= np.clip(0.95 + BLOTS[kind] * (0.6 + depth) * (pairs + np.roll(pairs, 1, 1)), 0.25, 1.2)
    for axis, shortest, longest in WEAVES.get(kind, ()):
        wave = np.sin(axis * 2 * np.pi / rng.uniform(shortest, longest) + 6 * lean)
        factors *= 1 - (0.3 + 0.4 * depth) * np.clip(2 * wave + 2 * duty - 1, 0, 1)
    return factors


def _garment(rng: np.random.Generator, label: int) -> np.ndarray:
    """One garment: float greys (28, 28), not yet clipped."""
    low, high = WARPS[label][::2], WARPS[label][1::2]
    *widths, reach, length, heel = rng.uniform(low, high)
    lean = 0.02 * rng.standard_normal()
    heel, floor = max(heel, 0), FLOORS[label]
    rise = 2 if label == 9 else 0.4 * heel - 4 if floor == 24 else 0  # boots stand lower than other shoes
    grey = 35 + 215 * rng.beta(2.4, 0.9)  # most garments are light, as in the original
    accent = rng.uniform(0.2, 0.85) if grey > 110 else rng.uniform(1.3, 3)  # well visible on either
    *words, fabric = (slot[int(rng.random() * len(slot))] for slot in CHOICES[label])
    strokes = [stroke for word in words for stroke in STROKES.get(word, ())]
    if heel > 1:  # the top of a block, a stiletto or a wedge, which lifts with the sole
        strokes.append(("heel", 0.8, 0, np.array([(rng.uniform(15, 25.5), 23), (27.3, 23)])))
    across, down = np.concatenate([stroke[-1] for stroke in strokes]).T - [[14], [floor]]
    across += np.sign(across) * (reach - 1) * np.maximum(np.abs(across) - 7, 0)
    ramp = np.clip((across + 4) / 11, 0, 1)  # flat under the toes, then up to the heel
    x = 14 + across * np.interp(down + floor, (0, 9, 16, 28), widths) + lean * (down + floor - 14)
    y = floor + down * length - heel * ramp * ramp * (3 - 2 * ramp) + rise
    coordinates = (FINE * np.stack([x, y], 1)).ravel().tolist()
    image = Image.new("L", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)
    for tool, tone, width, points in strokes:
        ink = int(min(255, grey * (accent if tone is None else tone)))
        thick = max(1, round(FINE * (rng.uniform(0.6, 1.6) if width is None else width)))
        path, coordinates = coordinates[: 2 * len(points)], coordinates[2 * len(points) :]
        if tool == "line":
            pen.line(path, ink, thick, "curve")
        elif tool in ("oval", "ring"):
            path[1::2] = sorted(path[1::2])  # a steep sole can turn a box upside down
            pen.ellipse(path, ink if tool == "oval" else None, ink, thick)
        elif tool == "heel":
            ground = FINE * (floor + rise)
            pen.polygon([*path, path[2], ground, path[0] + FINE / 2, ground], ink)
        else:
            pen.polygon(path, ink)
    return np.asarray(image.reduce(FINE), np.float32) * _fabric(rng, fabric)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw garments: uint8 images (count, 28, 28), grey on black, and their uint8 labels (count,).

    Ten successive images show the ten classes in a random order. Image and label i depend only on `seed` and i, so
    that a smaller count gives the beginning of a larger one.
    """
    blocks = [np.random.default_rng((seed, block, 10)).permutation(10) for block in range(-(-count // 10))]
    labels = np.array(blocks, np.uint8).ravel()[:count]
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for index, label in enumerate(labels):
        images[index] = np.clip(_garment(np.random.default_rng((seed, index)), label), 0, 255)
    return images, labels
