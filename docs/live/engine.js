/* The forward pass of small networks, in plain JavaScript, so that a page can compute without a server.
 *
 * A network is { nodes, shapes, kernels, vectors }: nodes in the order of computation, each { op, from, weights, ... }
 * with the numbers of the nodes and of the weights that it reads; the shapes of all weights; in base64, one after
 * another, those with two dimensions or more as float16, and those with one as float32.
 * Arrays are flat, channels last: the value at (row, column, channel) of a map (height, width, channels) stands at
 * (row * width + column) * channels + channel.
 */
"use strict";

const live = { models: {}, demos: {} };

live.fromFloat16 = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

const activations = {
  linear: (value) => value,
  relu: (value) => Math.max(value, 0),
  tanh: Math.tanh,
  sigmoid: (value) => 1 / (1 + Math.exp(-value)),
  silu: (value) => value / (1 + Math.exp(-value)),
  leaky_relu: (value, slope) => (value > 0 ? value : slope * value),
};

const size = (shape) => shape.reduce((product, length) => product * length, 1);

/** Each operation: (node, inputs { data, shape }[], weights Float32Array[]) -> { data, shape }. */
const operations = {
  dense(node, [input], [kernel, bias]) {
    const inputs = input.shape[input.shape.length - 1], units = kernel.length / inputs;
    const rows = input.data.length / inputs, data = new Float32Array(rows * units);
    for (let row = 0; row < rows; row++) {
      const at = row * units;
      if (bias) data.set(bias, at);
      for (let i = 0; i < inputs; i++) {
        const value = input.data[row * inputs + i], from = i * units;
        if (value !== 0) for (let unit = 0; unit < units; unit++) data[at + unit] += value * kernel[from + unit];
      }
    }
    return { data, shape: [...input.shape.slice(0, -1), units] };
  },

  /* "same" as TensorFlow means it: what is left over of the border goes below and to the right. */
  convolution(node, [input], [kernel, bias]) {
    const [height, width, channels] = input.shape, { size: k, stride, filters } = node;
    const high = Math.ceil(height / stride), wide = Math.ceil(width / stride);
    const top = Math.max((high - 1) * stride + k - height, 0) >> 1, left = Math.max((wide - 1) * stride + k - width, 0) >> 1;
    const data = new Float32Array(high * wide * filters);
    for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      const to = (y * wide + x) * filters;
      if (bias) data.set(bias, to);
      for (let dy = 0; dy < k; dy++) for (let dx = 0; dx < k; dx++) {
        const row = y * stride + dy - top, column = x * stride + dx - left;
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const from = (row * width + column) * channels;
        for (let channel = 0; channel < channels; channel++) {
          const value = input.data[from + channel], weights = ((dy * k + dx) * channels + channel) * filters;
          if (value !== 0) for (let f = 0; f < filters; f++) data[to + f] += value * kernel[weights + f];
        }
      }
    }
    return { data, shape: [high, wide, filters] };
  },

  /* The transpose of such a convolution: every input is spread over k x k outputs. Kernel (k, k, filters, channels). */
  transposed(node, [input], [kernel, bias]) {
    const [height, width, channels] = input.shape, { size: k, stride, filters } = node;
    const high = height * stride, wide = width * stride, before = Math.max(k - stride, 0) >> 1;
    const data = new Float32Array(high * wide * filters);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const from = (y * width + x) * channels;
      for (let dy = 0; dy < k; dy++) for (let dx = 0; dx < k; dx++) {
        const row = y * stride + dy - before, column = x * stride + dx - before;
        if (row < 0 || row >= high || column < 0 || column >= wide) continue;
        const to = (row * wide + column) * filters;
        for (let f = 0; f < filters; f++) {
          const weights = ((dy * k + dx) * filters + f) * channels;
          let sum = 0;
          for (let channel = 0; channel < channels; channel++) sum += input.data[from + channel] * kernel[weights + channel];
          data[to + f] += sum;
        }
      }
    }
    if (bias) for (let i = 0; i < data.length; i++) data[i] += bias[i % filters];
    return { data, shape: [high, wide, filters] };
  },

  /* Batch normalisation with stored statistics is one factor and one shift per channel. */
  affine(node, [input], [factor, shift]) {
    const channels = factor.length;
    return { data: input.data.map((value, i) => value * factor[i % channels] + shift[i % channels]), shape: input.shape };
  },

  reshape: (node, [input]) => ({ data: input.data, shape: node.shape }),

  upsampling(node, [input]) {
    const [height, width, channels] = input.shape, { factor } = node;
    const data = new Float32Array(input.data.length * factor * factor), wide = width * factor;
    for (let y = 0; y < height * factor; y++) for (let x = 0; x < wide; x++) {
      const from = (Math.floor(y / factor) * width + Math.floor(x / factor)) * channels;
      data.set(input.data.subarray(from, from + channels), (y * wide + x) * channels);
    }
    return { data, shape: [height * factor, wide, channels] };
  },

  activation: (node, [input]) => input,
};

/** The named network -> a function from a flat input to the flat output. */
live.load = (name) => {
  const { nodes, shapes, kernels, vectors } = live.models[name];
  const values = [new Float32Array(bytes(vectors)), Float32Array.from(new Uint16Array(bytes(kernels)), live.fromFloat16)];
  const begin = [0, 0];
  const arrays = shapes.map((shape) => {
    const kind = shape.length > 1 ? 1 : 0, first = begin[kind];
    begin[kind] += size(shape);
    return values[kind].subarray(first, begin[kind]);
  });
  return (input) => {
    const results = [];
    for (const node of nodes) {
      if (node.op === "input") {
        results.push({ data: Float32Array.from(input), shape: node.shape });
        continue;
      }
      const result = operations[node.op](node, node.from.map((i) => results[i]), node.weights.map((i) => arrays[i]));
      const activation = activations[node.activation || "linear"];
      results.push({ data: node.activation ? result.data.map((value) => activation(value, node.slope)) : result.data, shape: result.shape });
    }
    return results[results.length - 1].data;
  };
};
