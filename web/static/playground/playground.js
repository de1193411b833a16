// The playground page: controls, and what follows from them.
import { load } from "./load.js";
import { Session } from "./session.js";
import { make, make_heads, mark, percent, roving, show_bars, show_text, show_weights, visible } from "./views.js";

const PAUSE = 30; // milliseconds between two tokens, so that one can watch the text grow
const root = document.getElementById("lm-playground");
const find = (selector) => root.querySelector(selector);
const form = find("form"), { elements } = form;
const say = (text) => { find(".pg-status").textContent = text; };
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function whole(input, fallback) {
  const value = Math.round(input.valueAsNumber);
  return Number.isFinite(value) ? Math.min(Math.max(value, Number(input.min)), Number(input.max || Infinity)) : fallback;
}

function play({ model, tokenizer, prompts, n_parameters }) {
  const session = new Session(model), { steps } = session, { n_layers, n_heads, max_len } = model.config;
  const text = find(".pg-text"), heads = find(".pg-heads"), bars = find(".pg-bars"), matrix = find(".pg-matrix");
  let place = 0, layer = 0, head = 0, running = null;

  const settings = () => ({
    temperature: elements.temperature.valueAsNumber,
    top_p: elements.top_p.valueAsNumber,
    top_k: whole(elements.top_k, null),
    seed: whole(elements.seed, 1),
  });
  const name = (i) => `“${visible(tokenizer.bytes[steps[i].id])}”`;

  function show_place() {
    mark(text, place);
    const { id, drawn, weights } = steps[place], surprise = session.surprise(place);
    const given = place < session.n_prompt ? "is part of the prompt"
      : drawn ? `was drawn with ${percent(drawn)}` : "was your choice";
    find("#pg-about").textContent = `${name(place)} (token ${place}, id ${id}) ${given}` + (surprise
      ? `; the model gave it ${percent(surprise.probability)}, rank ${surprise.rank} of ${model.config.vocab_size}.`
      : ". Nothing stands before it, so the model gave it no probability.");
    const row = weights[layer][head];
    [...text.children].forEach((token, i) => token.style.setProperty("--pg-weight", Math.sqrt(row[i] ?? 0)));
    const top = Array.from(row.keys()).sort((a, b) => row[b] - row[a]).slice(0, 3);
    find("#pg-looks").textContent = `Layer ${layer}, head ${head}: ${name(place)} looks most at `
      + top.map((i) => `${name(i)} (token ${i}, ${percent(row[i])})`).join(", ") + ".";
    show_weights(matrix, steps, layer, head, place);
    matrix.setAttribute("aria-label", `Attention of layer ${layer}, head ${head}, over ${steps.length} tokens; `
      + `the line of ${name(place)} stands out.`);
  }

  function show_heads() {
    mark(heads, layer * n_heads + head);
    heads.querySelectorAll("canvas").forEach((canvas, i) => show_weights(canvas, steps, Math.floor(i / n_heads), i % n_heads));
  }

  function show_next() {
    for (const input of [elements.temperature, elements.top_p]) {
      input.parentElement.querySelector("output").value = input.valueAsNumber.toFixed(2);
    }
    if (steps.length) show_bars(bars, session.next(settings()), tokenizer, session.full);
  }

  /** Buttons that can do nothing now say so, and keep the focus, which a disabled button would lose. */
  function show_buttons() {
    elements.stop.setAttribute("aria-disabled", !running);
    elements.another.setAttribute("aria-disabled", !session.n_prompt);
    for (const button of [find(".pg-main"), elements.one]) {
      button.setAttribute("aria-disabled", Boolean(running) || !steps.length || session.full);
    }
  }

  function show() {
    show_text(text, session, tokenizer);
    show_buttons();
    find(".pg-shown").hidden = !steps.length;
    place = steps.length - 1;
    if (place < 0) return;
    show_next();
    show_heads();
    show_place();
  }

  const full = () => `The context of ${max_len} tokens is full: the model can read no more. Reset, or shorten the prompt.`;

  function reset() {
    running = null;
    const ids = tokenizer.encode(elements.prompt.value);
    session.start(ids);
    show();
    say(!ids.length ? "Type a prompt: the model needs at least one token to begin with."
      : ids.length > max_len ? `The prompt has ${ids.length} tokens and the context holds ${max_len}: the rest is not read.`
      : session.full ? full() : `The prompt has ${ids.length} ${ids.length === 1 ? "token" : "tokens"}.`);
  }

  async function generate(n_tokens) {
    if (running || !steps.length) return;
    const run = running = { stop: false }, begin = steps.length;
    let computing = 0;
    show_buttons();
    while (running === run && !run.stop && steps.length - begin < n_tokens && !session.full) {
      const start = performance.now();
      session.write(settings());
      computing += performance.now() - start;
      if (n_tokens === 1) break;
      if (!calm.matches) show();
      await pause(calm.matches ? 0 : PAUSE);
    }
    if (running !== run) return; // a new prompt, or a token of the reader's choice, has come between
    running = null;
    show();
    const n = steps.length - begin, speed = n < 20 ? "" : `, at ${Math.round(1000 * n / computing)} tokens per second`;
    say(session.full ? full() : n === 1 ? `Token ${name(place)} written.` : `${n} tokens written${speed}.`);
  }

  function stop() {
    if (running) running.stop = true;
  }

  function append(id) {
    running = null;
    if (!session.full) session.append(id);
    show();
    say(session.full ? full() : `${name(place)} appended.`);
  }

  let typing;
  elements.prompt.addEventListener("input", () => {
    elements.example.value = "";
    clearTimeout(typing);
    typing = setTimeout(reset, 150);
  });
  elements.example.addEventListener("change", () => {
    elements.prompt.value = prompts[elements.example.value];
    reset();
  });
  for (const input of [elements.temperature, elements.top_p, elements.top_k]) input.addEventListener("input", show_next);
  form.addEventListener("submit", (event) => { event.preventDefault(); generate(whole(elements.n_tokens, 60)); });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && event.ctrlKey) form.requestSubmit();
  });
  elements.one.addEventListener("click", () => generate(1));
  elements.stop.addEventListener("click", stop);
  elements.reset.addEventListener("click", reset);
  elements.another.addEventListener("click", () => {
    elements.seed.value = whole(elements.seed, 0) + 1;
    reset();
    generate(whole(elements.n_tokens, 60));
  });
  bars.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) append(Number(button.value));
  });
  roving(text, (i) => { if (i !== place) { place = i; show_place(); } }, ["focusin", "click", "pointerover"]);
  roving(heads, (i) => { [layer, head] = [Math.floor(i / n_heads), i % n_heads]; mark(heads, i); show_place(); });
  matrix.addEventListener("click", ({ offsetY }) => {
    place = Math.min(Math.floor(offsetY / matrix.clientHeight * steps.length), steps.length - 1);
    show_place();
  });
  new MutationObserver(() => { if (steps.length) { show_heads(); show_place(); } })
    .observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

  make_heads(heads, model.config);
  find("#pg-model").textContent = `The model has ${n_layers} ${n_layers === 1 ? "layer" : "layers"}, `
    + `${n_heads} ${n_heads === 1 ? "head" : "heads"} in each, ${n_parameters.toLocaleString("en")} parameters, `
    + `a vocabulary of ${model.config.vocab_size.toLocaleString("en")} tokens and a context of ${max_len}. `
    + `Its file has ${(root.dataset.bytes / 1e6).toFixed(1)} MB.`;
  prompts.forEach((prompt, i) => elements.example.append(make("option", { value: i }, prompt.trim())));
  elements.prompt.value = prompts[elements.example.value = 0];
  elements.top_k.max = model.config.vocab_size;
  elements.n_tokens.max = max_len;
  form.hidden = false;
  reset();
}

async function begin() {
  say(`Loading the model (${(root.dataset.bytes / 1e6).toFixed(1)} MB) …`);
  try {
    play(await load(new URL("./model/", import.meta.url)));
  } catch (error) {
    say(`The model could not be loaded, or its file is damaged; try to load the page again. (${error.message})`);
  }
}

if (Number(root.dataset.bytes)) {
  // Only who comes here needs the weights.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  }).observe(root);
} else {
  say("The weights of the model are missing from this copy of the book. They are not stored with its text: the command “make book”"
    + " trains the model, which takes about two minutes, and builds this page with it.");
}
