"""Garments drawn by code: a stand-in for Fashion-MNIST, in the same format, for readers without a network.

A garment is a handful of words ("long", "body", "vee", "disc"), one for each slot of its class; a word is a few strokes;
a random warp of the coordinates then makes it wide or narrow, long or short, flat or high-heeled.
Coordinates are pixels of the final image, x to the right, y down; tones are factors of the garment's own grey.
"""

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIDE, FINE = 28, 4  # drawn FINE times larger, then averaged down: that is the antialiasing
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5

# For each class its slots in drawing order, the fabric last; a word written twice is picked twice as often.
SLOTS = (
    "short short short cap half none / body / round round vee boat scoop / none none disc hoop gem text label / "
    "plain plain melange stripes print fade",
    "slim straight straight flared / jeans jeans creases / plain plain melange fade print",
    "long / body / round round round boat vee roll / ribs / none none disc text label / plain melange stripes bands print",
    "none none none cap short half long / body / round vee boat scoop / none belt pleats / plain melange print stripes fade",
    "long / body / lapel lapel hood roll / zip zip open double double / plain plain melange bands",
    "thong slide cross cross / buckle sling none / sole / plain melange",
    "long long long short half / body / buttons / collar / pocket none / plain plain pins plaid print melange",
    "runner runner pump / laces bars swoosh panel / laces none / sole / plain plain melange fade",
    "arch bow twin strap none / box tote moon clutch / flap point seam belts none / plate none none / "
    "plain plain melange print bands",
    "ankle ankle shaft / elastic side eyelets none / sole / plain plain melange print",
)
# For each class the lowest and highest width at heights 0, 9, 16 and 28, reach of the sleeves, length, height of the heel.
TOP, SHOE = (0.85, 1.05, 0.85, 1.12, 0.82, 1.12, 0.9, 1.12, 0.6, 1.1, 0.94, 1, 0, 0), (1,) * 10 + (0.8, 1.05)
DRESS = (0.6, 0.8, 0.55, 0.75, 0.45, 0.7, 0.55, 1.2, 0.7, 1.2, 0.98, 1, 0, 0)
TROUSER = (0.75, 1, 0.75, 1.05, 0.7, 1.15, 0.6, 1.2, 1, 1, 0.93, 1, 0, 0)
BAG = (0.7, 1, 0.8, 1, 0.8, 1, 0.75, 1, 1, 1, 0.75, 1.05, 0, 0)
WARPS = (TOP, TROUSER, TOP, DRESS, TOP, (*SHOE, -2, 10), TOP, (*SHOE, 0, 1), BAG, (*SHOE, -2, 7))
FLOOR = (0, 0, 0, 0, 0, 24, 0, 24, 27, 24)  # the height that a change of length leaves alone

# word: stroke; stroke. A stroke is a tool, a tone, a width (? leaves either to chance) and points: fill a smooth outline,
# cut one with corners, line, ring and oval (centre and radii), dots (x and first y, last y and count). A plural tool
# (fills, cuts, lines) also draws the mirror image. The darker rim below the body becomes the seam along the sleeves.
WORDS = """
short: fills .95 0 15,1 20.3,1.6 22,3 24.8,8 21,9.8 19.5,8.5; lines .8 .4 21,9 24.4,7.2
cap: fills .95 0 15,1 20.3,1.6 22,2.8 23.4,5.6 20,7.5
half: fills .95 0 15,1 20.3,1.6 22,3 25.2,13 21.6,14.4 19.6,8.5
long: fills .93 0 15,1 20.2,1.6 21.8,3 24,12 25.6,26.6 22.2,27.4 20.8,16 19.6,8.5; lines .75 .5 22.2,25.4 25.6,24.8
body: fills .6 0 10,.8 17,.8 20.9,2 20.4,5 20.4,9 20.1,15 20.7,28 10,28; fills 1 0 10,.8 17,.8 20.3,1.8 19.9,5 19.6,15 20.2,28 10,28
round: oval .8 0 14,1 3.3,3; oval .1 0 14,.6 2.6,2.3
boat: oval .8 0 14,.7 4.8,2.1; oval .1 0 14,.3 4.1,1.5
scoop: oval .8 0 14,0 3.6,6.2; oval .1 0 14,0 2.9,5.5
vee: cut .8 0 10,-1 18,-1 14,7.2; cut .1 0 10.7,-1 17.3,-1 14,5.8
roll: fill .85 0 11,-.5 17,-.5 17.8,3.2 10.2,3.2; line .6 .5 10.6,3.2 17.4,3.2
hood: oval .82 0 14,3 4.6,3.4; oval .3 0 14,3.2 2.8,2.5
collar: oval .3 0 14,1 2.8,1; cuts 1.18 0 14,2.4 16.8,0 18.2,2.6 16,5.4; lines .55 .5 14,2.4 16,5.4 18.2,2.6
lapel: cut .25 0 11,0 17,0 14,9; cuts 1.12 0 14,10.5 16.8,0 18.4,1 18.8,5.5; lines .5 .6 14,10.5 18.8,5.5 18.4,1
disc: oval ? 0 14,11 3.2,3
gem: cut ? 0 14,7 18,12 14,17 10,12
hoop: ring ? .9 14,11 3.4,3.2; line ? .8 12.5,11 15.5,11
text: line ? ? 10.5,9.5 17.5,9.5; line ? ? 11.5,12 16.5,12
label: cut ? 0 10,8 18,8 18,12 10,12; line 1 .7 11,10 17,10
ribs: line .7 .6 7,26 21,26
belt: line ? ? 7,13 21,13
pleats: lines .7 .5 15.5,14 15.8,28; lines .7 .5 18,14 18.6,28
buttons: line .7 .5 15.3,4 15.3,28; dots ? .55 14,5 25,7
pocket: cut .85 0 16.2,9 19,9 19,12.5 16.2,12.5; line .65 .5 16.2,9 19,9
zip: line .6 1.6 14,3.5 14,28; line ? .7 14,3.5 14,28; lines .5 .7 16,17 18.8,20.5
open: cut .12 0 13.6,8 14.4,8 15.6,28 12.4,28; lines .5 .7 17,18 19,18
double: line .5 .6 16,9 16,28; dots ? .65 12,11 21,4; dots ? .65 14.6,11 21,4
slim: fills 1 0 12,.2 18.4,.2 19.4,7 18.4,28 16,28 15,14 14,10 12,9
straight: fills 1 0 12,.2 18.4,.2 19.6,7 19.8,28 15.8,28 14.6,14 14,10 12,9
flared: fills 1 0 12,.2 18.2,.2 19.2,7 18.6,17 20.6,28 16.2,28 15.2,16 14,10 12,9
jeans: line .6 .5 9.5,1.8 18.5,1.8; line .65 .5 14,1 14,9; lines .6 .5 16.4,2 19,5
creases: lines 1.15 1 16.6,6 17.3,26; lines .8 .6 18,8 18.2,26
sole: fill ? 0 .5,22 9,22.3 20,22.4 27.5,22 27.5,24 20,24.2 9,24.2 .7,24
runner: fill 1 0 .5,23 .8,19.8 5,18.3 10,16.8 15,12.6 17.5,12.4 20,15 24,14.4 27,12.4 27.6,18 27.5,23
pump: fill 1 0 .5,23 .8,20.5 5,18.5 10,16.8 13,16 18,17 23,15.5 26.8,13.6 27.4,23
laces: line ? .6 9,17.4 11,19; line ? .6 11,16 13,17.8; line ? .6 13,14.4 15,16.4
swoosh: line ? 1.1 11,20.5 15,21 23,16.5; line .75 .5 5,18.5 6.5,22
bars: line ? .9 13,21.5 16,16; line ? .9 15.5,21.5 18.5,17; line ? .9 18,21.5 20.6,17.4
panel: cut ? 0 19,17 26.8,15 27,21.8 18,21.8; line ? .6 9,17.4 11,19
ankle: fill 1 0 .5,23 1.2,19.6 6,18 11,14.6 13,10 12.6,6 25.6,6 25,13 27,19 27.4,23
shaft: fill 1 0 .5,23 1.2,19.8 6,18.2 11,15 13.4,10 13.4,-1 25,-1 24.6,13 27,19 27.4,23
elastic: cut ? 0 17,7 21.5,7 20.4,15 18.4,15
side: line ? .7 16,7 17,15 19,21; line .75 .5 13,12 24,13
eyelets: dots ? .6 14.4,8 14,4; line ? .6 8,17.4 10,19.4; line .7 .6 6,18 8,22
thong: line 1 1.2 5,22 8,17.5 16,17.5 23,22; line 1 1 8,17.5 10,22
slide: fill 1 0 4,22 6,17.5 11,16 14,22; line ? .7 7,18 10,21
cross: line 1 1.3 3,22 6,18 12,22; line 1 1.3 6,22 11,17 15,22; line 1 .9 11,17 19,13
buckle: line 1 1 26.6,22 25.6,12 19,12.6 20.5,10.6 25.6,12; oval ? 0 20,12 .8,.8
sling: line 1 1 13,20 20,16 26.8,15 27,22
box: fill 1 0 1.2,10 26.8,10 27.2,26 .8,26
tote: cut 1 0 1.4,10 26.6,10 24.4,26.6 3.6,26.6
moon: fill 1 0 1,18 4,10.4 24,10.4 27,18 26.6,26.4 1.4,26.4
clutch: cut 1 0 .5,10 27.5,10 27.5,25 .5,25
arch: ring .85 ? 14,9 5.4,7.6
bow: line .85 ? 9,11 9.5,5 18.5,5 19,11
twin: ring .65 .8 14.8,9.4 4.2,7.4; ring 1 .9 13.4,9.4 4.4,8
strap: line .8 ? 2,12 .8,4 6,1.5 22,1.5 27.2,4 26,12
flap: fill .86 0 1,10 27,10 26,18.6 2,18.6; line .55 .5 2.4,18.4 25.6,18.4
point: line .5 .7 1.4,10.6 14,18.6 26.6,10.6; oval ? 0 14,18 .9,.9
seam: line ? .8 3,12.4 25,12.4; line .7 .5 4,18 24,18
belts: lines ? ? 19,10 19,26; line .7 .5 3,23 25,23
plate: cut ? 0 10,16 18,16 18,20 10,20
"""


def _parse(stroke: str) -> tuple:
    """(tool, tone, width, points (n, 2)); None for a tone or a width left to chance."""
    tool, tone, width, *pairs = stroke.split()
    points = np.array([pair.split(",") for pair in pairs], float)
    for _ in range(2 * tool.startswith("fill")):  # Chaikin's curve: cut the corners twice
        following = np.roll(points, -1, 0)
        points = np.stack([0.8 * points + 0.2 * following, 0.2 * points + 0.8 * following], 1).reshape(-1, 2)
    return tool, *(None if value == "?" else float(value) for value in (tone, width)), points


STROKES = {word: [_parse(stroke) for stroke in strokes.split(";")]
           for word, strokes in (line.split(":") for line in WORDS.strip().splitlines())}
CHOICES = [[slot.split() for slot in slots.split("/")] for slots in SLOTS]


def _fabric(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Factors (28, 28) for a drawing: the pattern, soft folds, light from one side and the grain of the cloth."""
    low, high, one, two, three, four = rng.random(6)
    noise = rng.standard_normal((SIDE, SIDE), np.float32)
    folds = np.sin(COLUMNS * (0.3 + 0.6 * low) + ROWS * (0.5 * high - 0.25) + 6 * one)
    light = 1 + 0.024 * (two - 0.5) * (COLUMNS - 14) + (0.02 + 0.06 * three) * folds + 0.025 * noise
    if kind in ("print", "melange"):
        strength = 0.12 + 0.18 * four if kind == "print" else 0.03 + 0.04 * four
        return light * (0.95 + strength * (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)))
    if kind == "fade":
        return light * (1 - (0.2 + 0.4 * four) * np.abs(ROWS / SIDE - (low < 0.5)))
    weaves = {"stripes": [(ROWS, 3, 7)], "bands": [(ROWS, 10, 22)], "pins": [(COLUMNS, 2.5, 5)],
              "plaid": [(ROWS, 3.5, 6), (COLUMNS, 3.5, 6)]}
    for axis, shortest, longest in weaves.get(kind, []):
        wave = np.sin(axis * 2 * np.pi / rng.uniform(shortest, longest) + 6 * three)
        light = light * (1 - (0.3 + 0.4 * four) * np.clip(2 * wave + 2 * two - 1, 0, 1))
    return light


def _garment(rng: np.random.Generator, label: int) -> np.ndarray:
    """One garment: float greys (28, 28), not yet clipped."""
    low, high = np.reshape(WARPS[label], (-1, 2)).T
    *widths, reach, length, heel = low + (high - low) * rng.random(7)
    heel, floor = max(heel, 0), FLOOR[label]
    grey = 35 + 215 * rng.beta(2.2, 1.0)  # most garments are light, as in the original
    accent = rng.uniform(0.15, 0.7) if grey > 110 else rng.uniform(1.5, 3)  # well visible on either
    *words, fabric = (slot[int(rng.random() * len(slot))] for slot in CHOICES[label])
    image = Image.new("L", (SIDE * FINE, SIDE * FINE))
    pen = ImageDraw.Draw(image)

    def place(points: np.ndarray) -> np.ndarray:
        """Warp the points (n, 2) and give them in pixels of the canvas."""
        across, down = (points - (14, 0)).T
        across = across + np.sign(across) * (reach - 1) * np.maximum(np.abs(across) - 7, 0)
        ramp = np.clip((across + 4) / 11, 0, 1)  # flat under the toes, then up to the heel
        down = floor + (down - floor) * length - heel * ramp * ramp * (3 - 2 * ramp) + rise
        return FINE * np.stack([14 + across * np.interp(down, (0, 9, 16, 28), widths), down], 1)

    return np.asarray(image.reduce(FINE), np.float32) * _fabric(rng, fabric)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw garments: uint8 images (count, 28, 28), grey on black, and their uint8 labels (count,).

    Every ten successive images show the ten classes in a random order. Image and label number i depend only on `seed`
    and i, so that a smaller count gives the beginning of a larger one.
    """
    blocks = range(-(-count // 10))
    labels = np.concatenate([np.random.default_rng((seed, block, 10)).permutation(10) for block in blocks])[:count]
    drawings = [_garment(np.random.default_rng((seed, index)), label) for index, label in enumerate(labels)]
    return np.clip(drawings, 0, 255).astype(np.uint8), labels.astype(np.uint8)
