// An equation wider than the page scrolls inside itself: let the keyboard reach it.
const fit = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest("mjx-container");
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
});
window.MathJax.startup.promise.then(() => {
  const parts = "mjx-container[display=true], mjx-container[display=true] > mjx-math";
  document.querySelectorAll(parts).forEach((element) => fit.observe(element));
});
