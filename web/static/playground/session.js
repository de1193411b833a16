// A text that grows: every token of it was read once by the model, and what the model said is kept.
import { KVCache } from "./model.js";
import { distribution, draw, random } from "./sampling.js";

export class Session {
  constructor(model) {
    this.model = model;
    this.cache = new KVCache(model.config.n_layers);
    this.steps = []; // for each token: { id, logits after it, weights of each layer and head, drawn }
    this.n_prompt = 0;
  }

  get full() {
    return this.steps.length >= this.model.config.max_len;
  }

  /** Begin with a prompt, as much of it as the context holds. What it shares with the text so far is not read again. */
  start(prompt) {
    const ids = prompt.slice(0, this.model.config.max_len);
    let same = 0;
    while (same < ids.length && this.steps[same]?.id === ids[same]) same++;
    this.cache.crop(same);
    this.steps.length = same;
    this.n_prompt = ids.length;
    for (const step of this.steps) delete step.drawn;
    for (const id of ids.slice(same)) this.append(id);
  }

  /** Read one more token; drawn is the probability with which it was drawn, if it was. */
  append(id, drawn) {
    this.steps.push({ id, drawn, ...this.model.read(id, this.cache) });
  }

  /** What comes next: the model's own probabilities, and those that the settings leave. */
  next(settings) {
    const { logits } = this.steps.at(-1);
    return { before: distribution(logits), after: distribution(logits, settings) };
  }

  /** Draw one more token and read it. */
  write(settings) {
    const probabilities = distribution(this.steps.at(-1).logits, settings);
    const id = draw(probabilities, random(settings.seed, this.steps.length));
    this.append(id, probabilities[id]);
  }

  /** How probable the model found the token at a place, and how many it found likelier; null for the first token. */
  surprise(place) {
    if (place === 0) return null;
    const probabilities = distribution(this.steps[place - 1].logits), own = probabilities[this.steps[place].id];
    return { probability: own, rank: 1 + probabilities.filter((other) => other > own).length };
  }
}
