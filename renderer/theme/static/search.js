// Search over the index that the renderer writes, in any of its formats. It is fetched when someone is about to search.
// What is looked for is every word, anywhere: that works in all languages, without a library and its stemmers.
(() => {
  const form = document.querySelector("form.search");
  const { index, script, none, many, failed } = form.dataset;
  const field = form.elements.q;
  const status = document.getElementById("found");
  const list = document.getElementById("results");
  // Without case, accents and the typographer's quotes and dashes, and as long as the text it comes from.
  const typed = { "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-" };
  const fold = (text) => text.replace(/[^\0-\x7f]/g, (c) => typed[c] ?? c.normalize("NFD")[0]).toLowerCase();
  const entities = { amp: "&", lt: "<", gt: ">", nbsp: " " };
  // The sign of a heading's own link is not a word.
  const plain = (text) =>
    (text ?? "").normalize("NFC").replace(/🔗$/gm, "").replace(/&(amp|lt|gt|nbsp);/g, (_, name) => entities[name]);

  const fetched = () => fetch(index).then((answer) => { if (!answer.ok) throw new Error(answer.status); return answer.json(); });
  const run = () => new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = index;
    element.onload = () => done(window.searchIndex);
    element.onerror = failed;
    document.head.append(element);
  });
  const row = ([url, page]) => {
    const title = plain(page.title || page.path || url);
    const text = plain([page.description, page.body].filter(Boolean).join("\n"));
    return { url: new URL(url, location.href).pathname, title, text, inTitle: fold(title), inText: fold(text) };
  };
  let pages;
  const load = () => {
    pages ??= (script ? run() : fetched()).then((found) =>
      (Array.isArray(found) ? found.map((page) => [page.url, page]) : Object.entries(found.documentStore.docs)).map(row));
    return pages;
  };

  const weight = (page, words) => {
    let sum = 0;
    for (const word of words) {
      const times = page.inText.split(word).length - 1;
      const titled = page.inTitle.includes(word);
      if (!times && !titled) return 0;
      sum += Math.min(times, 5) + (titled ? 20 : 0);
    }
    return sum;
  };
  // The text around the first word that is found, all words marked.
  const excerpt = (page, words) => {
    const places = words.map((word) => page.inText.indexOf(word)).filter((at) => at >= 0);
    const middle = places.length ? Math.min(...places) : 0;
    const start = middle < 60 ? 0 : page.text.lastIndexOf(" ", middle - 40) + 1;
    const end = start + 200;
    const out = document.createElement("p");
    if (start) out.append("…");
    let at = start;
    while (at < end) {
      const next = words
        .map((word) => [page.inText.indexOf(word, at), word.length])
        .filter(([found, length]) => found >= 0 && found + length <= end)
        .sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
      if (!next) break;
      const mark = document.createElement("mark");
      mark.textContent = page.text.slice(next[0], next[0] + next[1]);
      out.append(page.text.slice(at, next[0]), mark);
      at = next[0] + next[1];
    }
    out.append(page.text.slice(at, end));
    if (end < page.text.length) out.append("…");
    return out;
  };
  const entry = (page, words) => {
    const item = document.createElement("li");
    const heading = document.createElement("h2");
    const link = document.createElement("a");
    link.href = page.url;
    link.textContent = page.title;
    heading.append(link);
    item.append(heading);
    if (page.text) item.append(excerpt(page, words));
    return item;
  };
  const search = async () => {
    const asked = field.value.trim();
    history.replaceState(null, "", asked ? `?q=${encodeURIComponent(asked)}` : location.pathname);
    const words = [...new Set(fold(asked.normalize("NFC")).split(/\s+/).filter(Boolean))];
    let found = [];
    try {
      if (words.length) {
        found = (await load()).map((page) => [weight(page, words), page]).filter(([sum]) => sum).sort((a, b) => b[0] - a[0]);
      }
    } catch {
      pages = undefined;
      status.textContent = failed;
      return;
    }
    // While the index came, the question may have become another.
    if (field.value.trim() !== asked) return;
    const shown = found.slice(0, 50);
    list.replaceChildren(...shown.map(([, page]) => entry(page, words)));
    const count = shown.length < found.length ? `${shown.length} / ${found.length}` : found.length;
    status.textContent = !words.length ? "" : found.length ? `${count} ${many}` : none;
  };

  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  field.addEventListener("input", search);
  field.addEventListener("focus", () => load().catch(() => { pages = undefined; }), { once: true });
  field.value = new URLSearchParams(location.search).get("q") ?? "";
  if (field.value) search();
})();
