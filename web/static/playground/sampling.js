// From logits to one next token, as lmbook/generation: temperature, then top-k, then top-p, then a draw.

/** The probabilities with which a token is drawn; top_k null and top_p 1 keep every token. */
export function distribution(logits, { temperature = 1, top_k = null, top_p = 1 } = {}) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) {
    const best = logits.indexOf(largest);
    return Float64Array.from(logits, (_, id) => Number(id === best));
  }
  // Relative to the likeliest token, whose weight is 1: nothing overflows, however cold it is.
  let weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  if (top_k !== null) weights = keep_top_k(weights, top_k);
  if (top_p < 1) weights = keep_top_p(weights, top_p);
  return normalise(weights);
}

/** The k likeliest tokens, and any that tie with the last of them. */
function keep_top_k(weights, k) {
  const kth = weights.toSorted().at(-Math.min(k, weights.length));
  return weights.map((weight) => (weight < kth ? 0 : weight));
}

/** The likeliest tokens, as few of them as have together a probability of at least p. */
function keep_top_p(weights, p) {
  const probabilities = normalise(weights);
  const ranked = Array.from(weights.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const kept = new Float64Array(weights.length);
  let from_here_on = ranked.reduceRight((sum, id) => sum + probabilities[id], 0);
  for (const id of ranked) {
    if (id !== ranked[0] && from_here_on <= 1 - p) break; // those before this token reach p without it
    kept[id] = weights[id];
    from_here_on -= probabilities[id];
  }
  return kept;
}

function normalise(weights) {
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/** A number in [0, 1) that depends on the seed and the position alone, so that a text can be drawn again. */
export function random(seed, position) {
  let state = Math.imul(seed | 0, 0x9e3779b1) + Math.imul(position + 1, 0x6d2b79f5) | 0; // mulberry32
  state = Math.imul(state ^ state >>> 15, state | 1);
  state ^= state + Math.imul(state ^ state >>> 7, state | 61);
  return ((state ^ state >>> 14) >>> 0) / 2 ** 32;
}

/** The token in whose share of the line from 0 to 1 the number u falls. */
export function draw(probabilities, u) {
  let sum = 0, last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (probabilities[id] === 0) continue;
    sum += probabilities[id];
    if (u < sum) return id;
    last = id;
  }
  return last; // the sum of all, with its rounding, may be a little less than u
}
