// A GPT's forward pass: the arithmetic of lmbook/transformer, one token at a time, under the same names.

/** Where the keys and values of the tokens already read are kept: for each layer, one vector per token. */
export class KVCache {
  constructor(n_layers) {
    this.layers = Array.from({ length: n_layers }, () => ({ k: [], v: [] }));
  }
  get length() {
    return this.layers[0].k.length; // which is the position of the next token
  }
  crop(length) {
    for (const { k, v } of this.layers) k.length = v.length = Math.min(length, k.length);
  }
}

/** y = W x: each row of the weight matrix times x. */
function linear(x, { shape: [n_rows, n_columns], data }) {
  const y = new Float32Array(n_rows);
  for (let row = 0, i = 0; row < n_rows; row++) {
    let sum = 0;
    for (let column = 0; column < n_columns; column++) sum += data[i++] * x[column];
    y[row] = sum;
  }
  return y;
}

/** Scale a vector to root mean square 1, then by the learned weight. */
function rms_norm(x, weight, eps) {
  let squares = 0;
  for (const value of x) squares += value * value;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((value, i) => value * scale * weight.data[i]);
}

/** Turn coordinates i and i + d_head/2 of each head by the angle position · base^(-2i/d_head), in place. */
function rotate(x, position, d_head, base) {
  for (let head = 0; head < x.length; head += d_head) {
    for (let i = 0; i < d_head / 2; i++) {
      const angle = position * base ** (-2 * i / d_head);
      const cos = Math.cos(angle), sin = Math.sin(angle);
      const first = x[head + i], second = x[head + i + d_head / 2];
      x[head + i] = first * cos - second * sin;
      x[head + i + d_head / 2] = second * cos + first * sin;
    }
  }
  return x;
}

/** Numbers to shares that sum to 1, in place. */
function softmax(scores) {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  let total = 0;
  for (let i = 0; i < scores.length; i++) total += scores[i] = Math.exp(scores[i] - largest);
  for (let i = 0; i < scores.length; i++) scores[i] /= total;
  return scores;
}

/** The new token's queries q look at the keys k of all tokens, its own included; heads in groups share keys. */
function attention(q, k, v, { n_heads, n_kv_heads, d_head }) {
  const out = new Float32Array(q.length), weights = [];
  for (let head = 0; head < n_heads; head++) {
    const query = head * d_head, key = Math.floor(head * n_kv_heads / n_heads) * d_head;
    const scores = Float32Array.from(k, (keys) => {
      let score = 0;
      for (let i = 0; i < d_head; i++) score += q[query + i] * keys[key + i];
      return score / Math.sqrt(d_head);
    });
    weights.push(softmax(scores));
    v.forEach((values, token) => {
      for (let i = 0; i < d_head; i++) out[query + i] += weights[head][token] * values[key + i];
    });
  }
  return { out, weights };
}

/** The feed-forward network: w_out (silu(w_gate x) · w_in x). */
function swiglu(x, { w_gate, w_in, w_out }) {
  const gate = linear(x, w_gate);
  return linear(linear(x, w_in).map((value, i) => value * gate[i] / (1 + Math.exp(-gate[i]))), w_out);
}

const add = (x, y) => x.map((value, i) => value + y[i]);

export class GPT {
  /** config: that of Python's GPTConfig; tensors: name in Python's state_dict -> { shape, data: Float32Array }. */
  constructor(config, tensors) {
    this.config = { ...config, d_head: config.d_model / config.n_heads };
    this.embed = tensors["embed.weight"];
    this.blocks = Array.from({ length: config.n_layers }, (_, layer) => {
      const weight = (name) => tensors[`blocks.${layer}.${name}.weight`];
      const [w_q, w_k, w_v, w_o] = ["w_q", "w_k", "w_v", "w_o"].map((w) => weight(`self_attention.sublayer.${w}`));
      const [w_gate, w_in, w_out] = ["w_gate", "w_in", "w_out"].map((w) => weight(`feed_forward.sublayer.${w}`));
      const norms = { attention_norm: weight("self_attention.norm"), feed_forward_norm: weight("feed_forward.norm") };
      return { ...norms, w_q, w_k, w_v, w_o, w_gate, w_in, w_out };
    });
    this.norm = tensors["norm.weight"];
    this.unembed = config.tie_embeddings ? this.embed : tensors["unembed.weight"];
  }

  /** Read one token after those in the cache: the logits of the next token, and where each layer's heads looked. */
  read(id, cache) {
    const { vocab_size, d_model, d_head, norm_eps, rope_base, max_len } = this.config, position = cache.length;
    if (position >= max_len) throw new RangeError(`the context of ${max_len} tokens is full`);
    if (!(id >= 0 && id < vocab_size)) throw new RangeError(`id must be below ${vocab_size}, got ${id}`);
    let x = this.embed.data.slice(id * d_model, (id + 1) * d_model);
    const looked = this.blocks.map((block, layer) => {
      const { k, v } = cache.layers[layer];
      const seen = rms_norm(x, block.attention_norm, norm_eps);
      const q = rotate(linear(seen, block.w_q), position, d_head, rope_base);
      k.push(rotate(linear(seen, block.w_k), position, d_head, rope_base));
      v.push(linear(seen, block.w_v));
      const { out, weights } = attention(q, k, v, this.config);
      x = add(x, linear(out, block.w_o));
      x = add(x, swiglu(rms_norm(x, block.feed_forward_norm, norm_eps), block));
      return weights;
    });
    return { logits: linear(rms_norm(x, this.norm, norm_eps), this.unembed), weights: looked };
  }

  /** Logits after each of some tokens, which are read from the start unless a cache holds the tokens before them. */
  forward(ids, cache = new KVCache(this.config.n_layers)) {
    return ids.map((id) => this.read(id, cache).logits);
  }
}
