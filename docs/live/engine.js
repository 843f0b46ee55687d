/* The forward pass of small networks, in plain JavaScript, so that a page can compute without a server.
 *
 * A network is { nodes, shapes, ... weights }: nodes in the order of computation, each { op, from, weights, ... }
 * with the numbers of the nodes and of the weights that it reads; the shapes of all weights; and the weights, one
 * after another: those with one dimension as float32 in base64, all others as float16 in base64 or as one character
 * each, a level between -46 and 46 that its column's scale is multiplied by.
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

/** The level of a character: 93 printable ones stand for -46 to 46; the quotation mark and the backslash are left out. */
live.fromCharacter = (code) => code - 32 - (code > 34) - (code > 92) - 46;

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

const activations = {
  relu: (value) => Math.max(value, 0),
  tanh: Math.tanh,
  sigmoid: (value) => 1 / (1 + Math.exp(-value)),
  silu: (value) => value / (1 + Math.exp(-value)),
  leaky_relu: (value, slope) => (value > 0 ? value : slope * value),
  sin: Math.sin,
  cos: Math.cos,
};

const activated = (data, activation, slope) => {
  const result = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) result[i] = activation(data[i], slope);
  return result;
};

const size = (shape) => shape.reduce((product, length) => product * length, 1);

/* Add a row of inputs times a matrix (inputs, units) to a row of data; four inputs at a time, which is twice as fast. */
const addProduct = (data, to, units, input, from, inputs, kernel, at) => {
  let i = 0;
  for (; i + 4 <= inputs; i += 4) {
    const a = input[from + i], b = input[from + i + 1], c = input[from + i + 2], d = input[from + i + 3];
    const one = at + i * units, two = one + units, three = two + units, four = three + units;
    for (let unit = 0; unit < units; unit++) {
      data[to + unit] += a * kernel[one + unit] + b * kernel[two + unit] + c * kernel[three + unit] + d * kernel[four + unit];
    }
  }
  for (; i < inputs; i++) for (let unit = 0; unit < units; unit++) data[to + unit] += input[from + i] * kernel[at + i * units + unit];
};

/* How many values lie between neighbours along each axis. */
const strides = (shape) => shape.map((_, axis) => size(shape.slice(axis + 1)));

/* Values of an array in the order of `shape`: a step along axis i is one of steps[i] values in the array. */
const gathered = (data, shape, steps, begin = 0) => {
  const result = new Float32Array(size(shape)), place = shape.map(() => 0);
  for (let at = 0, from = begin; at < result.length; at++) {
    result[at] = data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++place[axis] < shape[axis]) break;
      from -= steps[axis] * shape[axis];
      place[axis] = 0;
    }
  }
  return result;
};

/* Value by value; the smaller array is repeated: a number, or one value per channel. */
const pairwise = (combine) => (node, [one, two]) => {
  const [large, small] = one.data.length < two.data.length ? [two, one] : [one, two], period = small.data.length;
  const data = new Float32Array(large.data.length);
  for (let begin = 0; begin < data.length; begin += period) {
    for (let i = 0; i < period; i++) data[begin + i] = combine(large.data[begin + i], small.data[i]);
  }
  return { data, shape: large.shape };
};

/** Each operation: (node, inputs { data, shape }[], weights Float32Array[]) -> { data, shape }. */
const operations = {
  dense(node, [input], [kernel, bias]) {
    const inputs = input.shape[input.shape.length - 1], units = kernel.length / inputs;
    const rows = input.data.length / inputs, data = new Float32Array(rows * units);
    for (let row = 0; row < rows; row++) {
      const at = row * units;
      if (bias) data.set(bias, at);
      addProduct(data, at, units, input.data, row * inputs, inputs, kernel, 0);
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
        const from = (row * width + column) * channels, weights = (dy * k + dx) * channels * filters;
        addProduct(data, to, filters, input.data, from, channels, kernel, weights);
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
    const channels = factor.length, data = new Float32Array(input.data.length);
    for (let begin = 0; begin < data.length; begin += channels) {
      for (let i = 0; i < channels; i++) data[begin + i] = input.data[begin + i] * factor[i] + shift[i];
    }
    return { data, shape: input.shape };
  },

  /* Mean 0 and variance 1 over all places and the channels of a group: one factor and one shift per channel, too. */
  group_norm(node, [input], [gamma, beta]) {
    const channels = gamma.length, wide = channels / node.groups, count = input.data.length / node.groups;
    const sums = new Float64Array(channels), squares = new Float64Array(channels);
    for (let begin = 0; begin < input.data.length; begin += channels) for (let i = 0; i < channels; i++) {
      const value = input.data[begin + i];
      sums[i] += value;
      squares[i] += value * value;
    }
    const factor = new Float32Array(channels), shift = new Float32Array(channels);
    const total = (values, i) => values.slice(i - (i % wide), i - (i % wide) + wide).reduce((one, two) => one + two);
    for (let i = 0; i < channels; i++) {
      const mean = total(sums, i) / count;
      factor[i] = gamma[i] / Math.sqrt(total(squares, i) / count - mean * mean + 1e-5);
      shift[i] = beta[i] - mean * factor[i];
    }
    return operations.affine(node, [input], [factor, shift]);
  },

  /* Mean 0 and variance 1 over the channels of each row. */
  layer_norm(node, [input], [gamma, beta]) {
    const channels = gamma.length, data = new Float32Array(input.data.length);
    for (let begin = 0; begin < data.length; begin += channels) {
      const row = input.data.subarray(begin, begin + channels);
      const mean = row.reduce((sum, value) => sum + value, 0) / channels;
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / channels;
      row.forEach((value, i) => { data[begin + i] = (value - mean) / Math.sqrt(variance + 1e-5) * gamma[i] + beta[i]; });
    }
    return { data, shape: input.shape };
  },

  add: pairwise((one, two) => one + two),
  multiply: pairwise((one, two) => one * two),
  constant: (node, inputs, [data]) => ({ data, shape: node.shape }),
  reshape: (node, [input]) => ({ data: input.data, shape: node.shape }),
  activation: (node, [input]) => input,

  /* Along the last axis. */
  concatenate(node, inputs) {
    const rows = size(inputs[0].shape.slice(0, -1)), widths = inputs.map((input) => input.data.length / rows);
    const wide = widths.reduce((sum, width) => sum + width), data = new Float32Array(rows * wide);
    for (let row = 0, at = 0; row < rows; row++) inputs.forEach((input, i) => {
      data.set(input.data.subarray(row * widths[i], (row + 1) * widths[i]), at);
      at += widths[i];
    });
    return { data, shape: [...inputs[0].shape.slice(0, -1), wide] };
  },

  /* A part of the input: so many places along every axis, from the value number `begin` on. */
  crop: (node, [input]) => ({ data: gathered(input.data, node.shape, strides(input.shape), node.begin), shape: node.shape }),

  /* Axis i of the output is axis axes[i] of the input. */
  transpose(node, [input]) {
    const steps = strides(input.shape), shape = node.axes.map((axis) => input.shape[axis]);
    return { data: gathered(input.data, shape, node.axes.map((axis) => steps[axis])), shape };
  },

  /* Means of 2 x 2 places; of fewer at the border, if the length is odd. */
  average_pool(node, [input]) {
    const [height, width, channels] = input.shape, high = Math.ceil(height / 2), wide = Math.ceil(width / 2);
    const data = new Float32Array(high * wide * channels);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const share = 1 / (Math.min(2, height - (y & ~1)) * Math.min(2, width - (x & ~1)));
      const from = (y * width + x) * channels, to = ((y >> 1) * wide + (x >> 1)) * channels;
      for (let channel = 0; channel < channels; channel++) data[to + channel] += share * input.data[from + channel];
    }
    return { data, shape: [high, wide, channels] };
  },

  upsampling(node, [input]) {
    const [height, width, channels] = input.shape, { factor } = node;
    const data = new Float32Array(input.data.length * factor * factor), wide = width * factor;
    for (let y = 0; y < height * factor; y++) for (let x = 0; x < wide; x++) {
      const from = (Math.floor(y / factor) * width + Math.floor(x / factor)) * channels;
      data.set(input.data.subarray(from, from + channels), (y * wide + x) * channels);
    }
    return { data, shape: [height * factor, wide, channels] };
  },

  /* The vector of each token plus the vector of its position. */
  embedding(node, [tokens], [words, positions]) {
    const { width } = node, data = new Float32Array(tokens.data.length * width);
    tokens.data.forEach((token, row) => {
      for (let i = 0; i < width; i++) data[row * width + i] = words[token * width + i] + positions[row * width + i];
    });
    return { data, shape: [tokens.data.length, width] };
  },

  /* Rows of queries, keys and values, side by side: each query attends to the keys up to its own. */
  attention(node, [input]) {
    const [rows, triple] = input.shape, width = triple / 3, wide = width / node.heads;
    const data = new Float32Array(rows * width), dot = (one, two) => {
      let sum = 0;
      for (let i = 0; i < wide; i++) sum += input.data[one + i] * input.data[two + i];
      return sum;
    };
    for (let begin = 0; begin < width; begin += wide) for (let row = 0; row < rows; row++) {
      const scores = Float32Array.from({ length: row + 1 }, (_, key) => dot(row * triple + begin, key * triple + width + begin) / Math.sqrt(wide));
      live.softmax(scores).forEach((weight, key) => {
        const from = key * triple + 2 * width + begin, to = row * width + begin;
        for (let i = 0; i < wide; i++) data[to + i] += weight * input.data[from + i];
      });
    }
    return { data, shape: [rows, width] };
  },

  last_row: (node, [input]) => ({ data: input.data.subarray(input.data.length - input.shape[1]), shape: [1, input.shape[1]] }),
};

/** Logits -> probabilities. A logit of minus infinity gives 0. */
live.softmax = (logits) => {
  const most = logits.reduce((one, two) => Math.max(one, two)), powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((one, two) => one + two);
  return powers.map((power) => power / sum);
};

/** The named network -> a function from its flat inputs to the flat output. */
live.load = (name) => {
  const { nodes, shapes, vectors, kernels, levels, scales } = live.models[name];
  const reader = (values) => {
    let begin = 0;
    return (count) => values.subarray(begin, begin += count);
  };
  const vector = reader(new Float32Array(bytes(vectors)));
  const kernel = reader(levels ? Float32Array.from(levels, (letter) => live.fromCharacter(letter.charCodeAt(0)))
    : Float32Array.from(new Uint16Array(bytes(kernels)), live.fromFloat16));
  const scale = levels && reader(new Float32Array(bytes(scales)));
  const arrays = shapes.map((shape) => {
    if (shape.length === 1) return vector(shape[0]);
    const array = kernel(size(shape)), columns = shape[shape.length - 1], factors = levels && scale(columns);
    return levels ? array.map((level, i) => level * factors[i % columns]) : array;
  });
  return (...inputs) => {
    const results = [];
    for (const node of nodes) {
      if (node.op === "input") {
        results.push({ data: Float32Array.from(inputs[node.number || 0]), shape: node.shape });
        continue;
      }
      const { data, shape } = operations[node.op](node, node.from.map((i) => results[i]), node.weights.map((i) => arrays[i]));
      results.push({ data: node.activation ? activated(data, activations[node.activation], node.slope) : data, shape });
    }
    return results[results.length - 1].data;
  };
};
