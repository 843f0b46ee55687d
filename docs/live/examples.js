/* The live examples: what is drawn, and what pointer and keys do. Each is a function of the element that holds it. */
"use strict";

/** Draw grey values in [0, 1] (side x side) on a canvas, enlarged without smoothing. */
live.draw = (canvas, values, side) => {
  const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = small.getContext("2d"), picture = context.createImageData(side, side);
  values.forEach((value, i) => picture.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
  context.putImageData(picture, 0, 0);
  const target = canvas.getContext("2d");
  target.imageSmoothingEnabled = false;
  target.drawImage(small, 0, 0, canvas.width, canvas.height);
};

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
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const latent = () => Array.from({ length: 100 }, normal);
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

document.querySelectorAll("[data-live]").forEach((element) => live.demos[element.dataset.live](element));
