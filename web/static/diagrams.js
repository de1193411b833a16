// Draws the page's mermaid diagrams, each when it is about to be seen, and again when the colour mode changes.
const root = document.documentElement;
const source = new Map();
let mermaid;
let queue = Promise.resolve();

const COLORS = {
  light: {
    primaryColor: "#e6eff7", primaryTextColor: "#18242f", primaryBorderColor: "#1f5a8a", lineColor: "#51606d",
    secondaryColor: "#f8ece1", tertiaryColor: "#f2f4f5", edgeLabelBackground: "#ffffff", textColor: "#18242f",
  },
  dark: {
    darkMode: true, primaryColor: "#1d3648", primaryTextColor: "#e9eff4", primaryBorderColor: "#7fb8e6",
    lineColor: "#a9b7c4", secondaryColor: "#45301e", tertiaryColor: "#262b30", edgeLabelBackground: "#14181e",
    textColor: "#e9eff4",
  },
};

async function draw(element) {
  mermaid ??= (await import("./mermaid/mermaid.esm.min.mjs")).default;
  const fontFamily = getComputedStyle(document.body).fontFamily;
  mermaid.initialize({
    startOnLoad: false,
    layout: "dagre", // the default, elk, is three times the size
    look: "classic",
    theme: "base",
    fontFamily,
    themeVariables: { ...COLORS[root.dataset.theme === "dark" ? "dark" : "light"], fontFamily },
  });
  element.removeAttribute("data-processed");
  element.textContent = source.get(element);
  await mermaid.run({ nodes: [element] });
}

// One after another: mermaid measures text in a shared element.
const enqueue = (element) => { queue = queue.then(() => draw(element)).catch((error) => console.error(error)); };

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting && !source.has(target)) {
      source.set(target, target.textContent);
      enqueue(target);
    }
  }
}, { rootMargin: "400px" });
document.querySelectorAll("pre.mermaid").forEach((element) => seen.observe(element));

new MutationObserver(() => [...source.keys()].forEach(enqueue))
  .observe(root, { attributes: true, attributeFilter: ["data-theme"] });
