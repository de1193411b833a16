// What the page shows of a session: its tokens, the likeliest next ones, and where the heads look.

const N_BARS = 10;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const percent = (share) => {
  const value = 100 * share;
  return `${value >= 99.95 || value === 0 ? Math.round(value) : value < 0.1 ? "< 0.1" : value.toFixed(1)} %`;
};

/** A token as one can see it: its spaces and line ends as signs, bytes that are no whole character as numbers. */
export function visible(bytes) {
  try {
    return decoder.decode(bytes).replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "␍");
  } catch {
    return Array.from(bytes, (byte) => `‹${byte.toString(16)}›`).join("");
  }
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** One stop for the Tab key in a group of radios: arrow keys, Home and End move, and each move picks. */
export function roving(group, pick, events = ["focusin", "click"]) {
  const radios = () => [...group.querySelectorAll("[role=radio]")];
  group.addEventListener("keydown", (event) => {
    const all = radios(), here = all.indexOf(event.target), last = all.length - 1;
    const to = { ArrowLeft: here - 1, ArrowUp: here - 1, ArrowRight: here + 1, ArrowDown: here + 1, Home: 0, End: last };
    if (here < 0 || !(event.key in to)) return;
    event.preventDefault();
    all[Math.min(Math.max(to[event.key], 0), last)].focus();
  });
  for (const type of events) {
    group.addEventListener(type, (event) => {
      const radio = event.target.closest("[role=radio]");
      if (radio) pick(radios().indexOf(radio));
    });
  }
}

export function mark(group, chosen) {
  group.querySelectorAll("[role=radio]").forEach((radio, i) => {
    radio.setAttribute("aria-checked", i === chosen);
    radio.tabIndex = i === chosen ? 0 : -1;
  });
}

/** The text, each token a radio; tokens that are already there stay, and with them the focus. */
export function show_text(group, session, tokenizer) {
  const wanted = session.steps.map(({ id }, place) => `${id} ${place < session.n_prompt}`);
  let same = 0;
  while (same < wanted.length && group.children[same]?.dataset.token === wanted[same]) same++;
  while (group.children.length > same) group.lastElementChild.remove();
  session.steps.slice(same).forEach(({ id }, i) => {
    const place = same + i, text = visible(tokenizer.bytes[id]);
    const token = make("span", { role: "radio", "aria-describedby": "pg-about" });
    if (place < session.n_prompt) token.className = "pg-given";
    // A space is shown as one; a line also ends where a token ends it.
    token.append(text.replaceAll("␣", " ").replaceAll("⏎", "⏎\n"));
    token.dataset.token = wanted[place];
    if (!text.replaceAll("␣", "")) token.setAttribute("aria-label", "space");
    group.append(token);
  });
}

/** The buttons of the likeliest tokens, made once and then only filled anew, so that the focus stays. */
export function show_bars(list, { before, after }, tokenizer, off) {
  while (list.children.length < Math.min(N_BARS, before.length)) {
    const bars = make("span", { class: "pg-pair", "aria-hidden": "true" }, make("i"), make("i"));
    const button = make("button", { type: "button" }, make("span", { class: "pg-name" }), bars, make("b"), make("b"));
    list.append(make("li", {}, button));
  }
  const order = Array.from(before.keys()).sort((a, b) => before[b] - before[a]).slice(0, N_BARS);
  const longest = Math.max(...order.flatMap((id) => [before[id], after[id]]));
  [...list.children].forEach((item, i) => {
    const id = order[i], button = item.firstChild, [name, pair, ...numbers] = button.children;
    button.value = id;
    button.setAttribute("aria-disabled", off);
    button.classList.toggle("pg-out", after[id] === 0);
    name.textContent = visible(tokenizer.bytes[id]);
    [before[id], after[id]].forEach((share, which) => {
      pair.children[which].style.width = `${100 * share / longest}%`;
      numbers[which].textContent = which && !share ? "–" : percent(share);
    });
  });
}

/** One head's weights as a picture, a pixel for each pair of tokens: row looks at column. */
export function show_weights(canvas, steps, layer, head, chosen = -1) {
  const n = steps.length, image = new ImageData(n, n), pixels = new DataView(image.data.buffer);
  const style = getComputedStyle(canvas);
  const [heat, focus] = ["--pg-heat", "--pg-focus"].map((name) =>
    style.getPropertyValue(name).split(",").reduce((color, part) => (color << 8 | part) >>> 0, 0) << 8);
  steps.forEach(({ weights }, query) => {
    const least = query === chosen ? 0.2 : 0.06; // so that the triangle, and the chosen line in it, can be seen
    weights[layer][head].forEach((weight, key) => {
      const opacity = Math.max(least, Math.sqrt(weight)); // the root, so that small weights can be seen
      pixels.setUint32(4 * (query * n + key), (query === chosen ? focus : heat) | 255 * opacity);
    });
  });
  canvas.width = canvas.height = n;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The heads of all layers, each a radio with its picture. */
export function make_heads(group, { n_layers, n_heads }) {
  group.style.setProperty("--pg-n-heads", n_heads);
  for (let layer = 0; layer < n_layers; layer++) {
    group.append(make("span", { "aria-hidden": "true" }, `layer ${layer}`));
    for (let head = 0; head < n_heads; head++) {
      const label = `Layer ${layer}, head ${head}`;
      const radio = { role: "radio", "aria-label": label, "aria-describedby": "pg-looks", title: label };
      group.append(make("span", radio, make("canvas", { width: 1, height: 1 })));
    }
  }
}
