/* The live examples: what is drawn, and what pointer and keys do. Each is a function of the element that holds it. */
"use strict";

/** Draw values in [0, 1] (side x side, grey or red, green, blue) on a canvas, enlarged without smoothing. */
live.draw = (canvas, values, side) => {
  const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = small.getContext("2d"), picture = context.createImageData(side, side), channels = values.length / (side * side);
  for (let i = 0; i < 4 * side * side; i++) {
    const pixel = (i >> 2) * channels, channel = i & 3;
    picture.data[i] = channel === 3 ? 255 : 255 * values[channels === 3 ? pixel + channel : pixel];
  }
  context.putImageData(picture, 0, 0);
  const target = canvas.getContext("2d");
  target.imageSmoothingEnabled = false;
  target.drawImage(small, 0, 0, canvas.width, canvas.height);
};

/** Write an element's text, as its data-text has it, with values for the names in brackets. */
live.tell = (element, values) => {
  element.textContent = element.dataset.text.replace(/\[(\w+)\]/g, (_, name) => values[name]);
};

/** A draw from a Gaussian with mean 0 and variance 1. */
live.normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** Keep a number between two others. */
live.within = (value, least, most) => Math.min(Math.max(value, least), most);

/** Lesson 10: a point on the plane of latent codes is decoded into a digit. */
live.demos.plane = (element) => {
  const decoder = live.load("10"), reach = 3;
  const [plane, picture] = element.querySelectorAll("canvas"), text = element.querySelector("output");
  let code = [0, 0];
  const show = () => {
    const context = plane.getContext("2d"), half = plane.width / 2, scale = half / reach;
    context.clearRect(0, 0, plane.width, plane.height);
    context.strokeStyle = "#888";
    for (const radius of [1, 2, 3]) { // standard deviations of p(z)
      context.beginPath();
      context.arc(half, half, radius * scale, 0, 2 * Math.PI);
      context.stroke();
    }
    context.fillStyle = "#d55e00";
    context.beginPath();
    context.arc(half + code[0] * scale, half - code[1] * scale, 7, 0, 2 * Math.PI);
    context.fill();
    const begin = performance.now();
    live.draw(picture, decoder(code).map((logit) => 1 / (1 + Math.exp(-logit))), 28);
    element.dataset.milliseconds = (performance.now() - begin).toFixed(1);
    text.textContent = `z = (${code.map((value) => value.toFixed(2)).join(", ")})`;
  };
  const point = (event) => {
    const box = plane.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    code = [live.within((2 * at[0] - 1) * reach, -reach, reach), live.within((1 - 2 * at[1]) * reach, -reach, reach)];
    show();
  };
  plane.addEventListener("pointerdown", (event) => { plane.setPointerCapture(event.pointerId); point(event); });
  plane.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
  const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
  plane.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    code = code.map((value, i) => live.within(value + steps[event.key][i], -reach, reach));
    show();
  });
  show();
};

/** Lesson 13: a great circle through two random latents, walked along by a slider. */
live.demos.walk = (element) => {
  const generator = live.load("13"), [picture] = element.querySelectorAll("canvas");
  const slider = element.querySelector("input"), button = element.querySelector("button");
  const latent = () => Array.from({ length: 100 }, live.normal);
  let ends = [latent(), latent()];
  const show = () => {
    const angle = (Number(slider.value) / 100) * (Math.PI / 2);
    const begin = performance.now();
    const image = generator(ends[0].map((value, i) => Math.cos(angle) * value + Math.sin(angle) * ends[1][i]));
    live.draw(picture, image.map((value) => (value + 1) / 2), 28);
    element.dataset.milliseconds = (performance.now() - begin).toFixed(1);
  };
  slider.addEventListener("input", show);
  button.addEventListener("click", () => { ends = [latent(), latent()]; show(); });
  show();
};

/** Lesson 11: multiples of concept vectors are added to the latent vector of a drawn face. */
live.demos.concepts = (element) => {
  const decoder = live.load("11"), { faces, concepts } = live.models["11"];
  const [plain, picture] = element.querySelectorAll("canvas"), text = element.querySelector("output");
  const [face, ...sliders] = element.querySelectorAll("input"), vectors = sliders.map((slider) => concepts[slider.name]);
  const show = () => {
    const shares = sliders.map((slider) => Number(slider.value)), begin = performance.now();
    const code = faces[face.value].map((value, i) => vectors.reduce((sum, vector, j) => sum + shares[j] * vector[i], value));
    live.draw(picture, decoder(code), 64);
    element.dataset.milliseconds = (performance.now() - begin).toFixed(1);
    const terms = sliders.map((slider, j) => [shares[j], slider.parentElement.firstChild.textContent.trim()]);
    const moved = terms.filter(([share]) => share).map(([share, name]) => ` ${share < 0 ? "−" : "+"} ${Math.abs(share)} v(${name})`);
    text.textContent = "z" + moved.join("");
  };
  const choose = () => { live.draw(plain, decoder(faces[face.value]), 64); show(); };
  face.addEventListener("input", choose);
  sliders.forEach((slider) => slider.addEventListener("input", show));
  element.querySelector("button").addEventListener("click", () => { sliders.forEach((slider) => { slider.value = 0; }); show(); });
  choose();
};

/** The way of points from t = 0 to 1 by Heun's method, whose last step is Euler's, as in lesson 26.
 *
 * `expected(points, time)` is E[x_1 | x_t]. Before each step it gives [time, points, that picture], and then the end.
 */
live.way = function* (expected, points, steps) {
  const towards = (picture, from, time) => from.map((value, i) => (picture[i] - value) / Math.max(1 - time, 0.05));
  for (let number = 0; number < steps; number++) {
    const time = number / steps, after = (number + 1) / steps, picture = expected(points, time);
    yield [time, points, picture];
    let slope = towards(picture, points, time);
    const moved = () => points.map((value, i) => value + slope[i] / steps);
    if (after < 1) {
      const ahead = moved(), next = towards(expected(ahead, after), ahead, after);
      slope = slope.map((value, i) => (value + next[i]) / 2);
    }
    points = moved();
  }
  yield [1, points, points];
};

/** E[x_1 | x_t] of a class with guidance w, p(x) + w (p(x, c) - p(x)): two evaluations unless w is 0 or 1. */
live.guided = (network, label, w) => (points, time) => {
  const ask = (given) => network(points, [time], Array.from({ length: 10 }, (_, i) => Number(given && i === label)));
  if (w === 0 || w === 1) return ask(w === 1);
  const without = ask(false), conditional = ask(true);
  return without.map((value, i) => value + w * (conditional[i] - value));
};

/** Lesson 26: a garment of a class out of noise, step by step, with guidance. */
live.demos.guidance = (element) => {
  const network = live.load("26"), [picture, end] = element.querySelectorAll("canvas"), text = element.querySelector("output");
  const weight = element.querySelector("input"), [other, ...classes] = element.querySelectorAll("button");
  const newNoise = () => Float32Array.from({ length: 28 * 28 }, live.normal);
  let noise = newNoise(), label = 0, rounds = 0, times = [];
  const timed = (...inputs) => {
    const begin = performance.now(), answer = network(...inputs);
    times.push(performance.now() - begin);
    return answer;
  };
  const step = (way, round) => {
    if (round !== rounds) return; // another garment has begun
    const [time, points, expected] = way.next().value, grey = (values) => values.map((value) => (value + 1) / 2);
    live.draw(picture, grey(points), 28);
    live.draw(end, grey(expected), 28);
    element.dataset.milliseconds = (times.reduce((sum, value) => sum + value) / times.length).toFixed(1);
    const milliseconds = Math.round(element.dataset.milliseconds);
    live.tell(text, { w: weight.value, t: time.toFixed(3), count: times.length, milliseconds });
    if (time < 1) setTimeout(() => step(way, round));
    else delete element.dataset.running;
  };
  const begin = () => {
    times = [];
    element.dataset.running = "";
    classes.forEach((button, i) => button.setAttribute("aria-pressed", i === label));
    step(live.way(live.guided(timed, label, Number(weight.value)), noise, 8), ++rounds);
  };
  weight.addEventListener("input", begin);
  other.addEventListener("click", () => { noise = newNoise(); begin(); });
  classes.forEach((button, i) => button.addEventListener("click", () => { label = i; begin(); }));
  begin();
};

/** Lesson 15: from the logits of the language model to the next token, by temperature, top-k and top-p. */
live.demos.sampling = (element) => {
  const model = live.load("15"), { vocabulary, length } = live.models["15"], shown = 10;
  const [prompt, temperature, top, nucleus] = element.querySelectorAll("input"), [one, many, again] = element.querySelectorAll("button");
  const [text, told] = element.querySelectorAll("output"), rows = element.querySelector("tbody");
  const [padding, unknown, start, end] = ["", "[UNK]", "[start]", "[end]"].map((token) => vocabulary.indexOf(token));
  const state = { tokens: [], logits: null, round: 0 };

  /** The lesson's rules for tokens, as far as a prompt needs them: lower case, and every mark a token. */
  const read = (line) => line.toLowerCase().replace(/\s-+\s|--+/g, " – ").replace(/[^\p{L}\d'.,!?;:()"/–-]/gu, " ")
    .replace(/(^|[^\p{L}])'+|'+($|[^\p{L}])/gu, "$1 $2").replace(/[.,!?;:()"/–-]/g, " $& ").split(/\s+/).filter(Boolean)
    .map((token) => Math.max(vocabulary.indexOf(token), unknown));
  const written = (tokens) => tokens.filter((token) => token !== start && token !== end).map((token) => vocabulary[token]).join(" ")
    .replace(/" (.*?) "/g, '"$1"').replace(/ ([-/]) /g, "$1").replace(/ ([.,!?;:)])/g, "$1").replace(/\( /g, "(")
    .replace(/\bi\b/g, "I").replace(/(^\W*|[.!?] \W*)([a-z])/g, (_, before, letter) => before + letter.toUpperCase());

  /** Probabilities of the sampler: temperature first, then top-k, then top-p. At temperature 0 all is the likeliest token's. */
  const filtered = (logits) => {
    const t = Math.max(Number(temperature.value), 1e-6), k = Number(top.value), p = Number(nucleus.value);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
    const scaled = logits.map((logit) => logit / t);
    if (k) order.slice(k).forEach((token) => { scaled[token] = -Infinity; });
    const probabilities = live.softmax(scaled);
    let before = 0;
    order.forEach((token) => {
      if (before >= p) scaled[token] = -Infinity;
      before += probabilities[token];
    });
    return [live.softmax(scaled), order];
  };
  const compute = () => {
    const begin = performance.now();
    state.logits = model(state.tokens);
    [padding, unknown, start].forEach((token) => { state.logits[token] = -Infinity; });
    element.dataset.milliseconds = (performance.now() - begin).toFixed(1);
  };
  const show = () => {
    const plain = live.softmax(state.logits), [drawn, order] = filtered(state.logits);
    rows.replaceChildren(...order.slice(0, shown).map((token) => {
      const row = document.createElement("tr"), name = document.createElement("th");
      name.scope = "row";
      name.textContent = vocabulary[token];
      row.append(name, ...[plain[token], drawn[token]].map((share) => {
        const cell = document.createElement("td");
        cell.style.setProperty("--share", `${100 * share}%`);
        cell.textContent = `${(100 * share).toFixed(1)}%`;
        return cell;
      }));
      return row;
    }));
    text.textContent = written(state.tokens);
    const left = drawn.reduce((count, share) => count + (share > 0), 0);
    live.tell(told, { count: left, milliseconds: Number(element.dataset.milliseconds).toFixed(0) });
    return drawn;
  };
  const restart = () => {
    state.round++;
    state.tokens = [start, ...read(prompt.value)].slice(0, length - 1);
    compute();
    show();
  };
  const draw = (count, round = ++state.round) => {
    if (round !== state.round || !count || state.tokens.length >= length || state.tokens.at(-1) === end) return;
    const shares = filtered(state.logits)[0];
    let rest = Math.random(), token = shares.indexOf(Math.max(...shares));
    for (let i = 0; i < shares.length; i++) {
      rest -= shares[i];
      if (rest < 0 && shares[i] > 0) { token = i; break; }
    }
    state.tokens.push(token);
    if (token !== end && state.tokens.length < length) compute();
    show();
    setTimeout(() => draw(count - 1, round));
  };
  prompt.addEventListener("input", restart);
  [temperature, top, nucleus].forEach((slider) => {
    const update = () => { slider.nextElementSibling.textContent = slider.value; };
    slider.addEventListener("input", () => { update(); show(); });
    update();
  });
  one.addEventListener("click", () => draw(1));
  many.addEventListener("click", () => draw(30));
  again.addEventListener("click", restart);
  restart();
};

document.querySelectorAll("[data-live]").forEach((element) => live.demos[element.dataset.live](element));
