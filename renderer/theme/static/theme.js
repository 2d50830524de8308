// What the theme adds where scripts run: a switch for light and dark, and a button that copies a block of code.
// It is loaded before the first paint, so that a chosen colour scheme never flashes. Pages work without it.
(() => {
  const root = document.documentElement;
  const words = document.currentScript.dataset;
  const read = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem("theme", value); } catch { /* private window: for this page only */ } };
  const chosen = read();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  document.addEventListener("DOMContentLoaded", () => {
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "theme";
    const show = () => {
      button.textContent = dark() ? "☀" : "☾";
      button.setAttribute("aria-label", dark() ? words.light ?? "Light colours" : words.dark ?? "Dark colours");
    };
    button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; keep(root.dataset.theme); show(); });
    show();
    document.querySelector(".top")?.append(button);
    for (const box of document.querySelectorAll("li > input[disabled]")) box.setAttribute("aria-label", box.parentElement.textContent.trim());
    for (const code of document.querySelectorAll("pre > code")) {
      const block = code.parentElement;
      if (!navigator.clipboard) continue;
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      const rest = words.copy ?? "Copy";
      copy.textContent = rest;
      copy.addEventListener("click", () => navigator.clipboard.writeText(code.textContent).then(
        () => { copy.textContent = words.copied ?? "Copied"; setTimeout(() => { copy.textContent = rest; }, 1500); },
        () => { copy.textContent = words.copy_failed ?? "Not allowed"; },
      ));
      // The frame stays where it is while the block scrolls under it.
      const frame = document.createElement("div");
      frame.className = "code";
      block.before(frame);
      frame.append(block, copy);
    }
  });
  // Widths are known once the style sheet is there.
  addEventListener("load", () => {
    for (const block of document.querySelectorAll("pre, table, math, p:has(> math)")) if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  });
})();
