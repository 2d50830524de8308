// What `bake preview` adds to a page: it follows the renders, and swaps, reloads or complains. Nothing of it is in built
// output. All that comes from the site is set as text, never as HTML.
(() => {
  "use strict";
  if (window.bakePreview) return;
  window.bakePreview = true;

  const page = JSON.parse(document.currentScript.dataset.bake);
  const OURS = "/bake//";
  let seen = page.seen;

  // ---- What is shown: in a tree of its own, which the styles of the page do not reach.

  const host = document.createElement("bake-preview");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { all: initial; }
    * { box-sizing: border-box; }
    .badge, .toast, .errors { position: fixed; z-index: 2147483647; font: 13px/1.45 system-ui, sans-serif; }
    .badge { left: 12px; bottom: 12px; padding: 3px 10px; border: 0; border-radius: 99px; cursor: pointer;
      color: #fff; background: #92400e; opacity: .92; box-shadow: 0 1px 4px #0006; }
    .badge.off { background: #475569; cursor: default; }
    .badge.wrong { left: auto; right: 12px; background: #b91c1c; }
    .toast { left: 50%; bottom: 16px; translate: -50%; max-width: 90vw; padding: 8px 14px; border-radius: 8px;
      color: #f8fafc; background: #1e293b; box-shadow: 0 2px 12px #0006; overflow-wrap: anywhere; }
    .toast a { color: #93c5fd; margin-left: 8px; }
    .errors { inset: auto 0 0 0; max-height: 60vh; overflow: auto; padding: 14px 18px 18px; color: #f8fafc;
      background: #1c1917; border-top: 4px solid #ef4444; box-shadow: 0 -2px 16px #0008; }
    .errors.all { max-height: none; inset: 0; }
    .errors h1 { margin: 0 40px 2px 0; font-size: 16px; }
    .errors p { margin: 0; color: #d6d3d1; }
    .errors .close { position: absolute; top: 8px; right: 12px; border: 0; background: none; color: inherit;
      font-size: 24px; line-height: 1; cursor: pointer; }
    .errors li { margin: 14px 0 0; padding: 0; }
    .errors ol { margin: 0; padding: 0; list-style: none; }
    .errors .what { font-weight: 600; color: #fca5a5; overflow-wrap: anywhere; }
    .errors .place { padding: 0; border: 0; background: none; color: #93c5fd; font: 12px ui-monospace, monospace;
      text-decoration: underline; cursor: pointer; }
    .errors pre { margin: 4px 0; padding: 6px 10px; overflow: auto; border-radius: 6px; background: #292524;
      font: 12px/1.4 ui-monospace, monospace; tab-size: 4; }
    .errors .hint { color: #86efac; }
    .outline { position: fixed; z-index: 2147483646; pointer-events: none; border: 2px solid #2563eb;
      border-radius: 4px; background: #2563eb1a; }
    :focus-visible { outline: 2px solid #93c5fd; outline-offset: 2px; }
    @media print { :host { display: none; } }
  `);
  root.adoptedStyleSheets = [sheet];
  document.documentElement.append(host);

  const element = (tag, kind, text = "") => {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = text;
    return made;
  };

  let badge, toast, toastEnd, errors, elsewhere;

  const showBadge = (text, title, isOff) => {
    badge?.remove();
    badge = undefined;
    if (!text) return;
    badge = element("button", isOff ? "badge off" : "badge", text);
    badge.title = title;
    if (!isOff) badge.addEventListener("click", () => open(page.file, page.line));
    root.append(badge);
  };

  const ownBadge = () => showBadge(page.mark?.label, `${page.mark?.detail}\nA click opens ${page.file}`, false);

  // Says something: for some seconds, or until the next thing is said.
  const say = (text, lasts, link) => {
    toast?.remove();
    clearTimeout(toastEnd);
    toast = element("div", "toast", text);
    toast.setAttribute("role", "status");
    if (link) {
      const to = element("a", "", link);
      to.href = link;
      toast.append(to);
    }
    root.append(toast);
    if (!lasts) toastEnd = setTimeout(() => toast.remove(), 5000);
  };

  const number = ({ list, left_out }) => (list.length === 1 ? "1 error" : `${list.length + left_out} errors`);

  // What is wrong with other pages is only counted here, until somebody wants to see it.
  const showOthers = (others) => {
    elsewhere?.remove();
    elsewhere = undefined;
    if (!others.list.length) return;
    elsewhere = element("button", "badge wrong", `${number(others)} elsewhere`);
    elsewhere.title = "What is wrong with other pages; a click shows it";
    elsewhere.addEventListener("click", () => showErrors("Elsewhere", "Other pages wait for this to be mended.", others));
    root.append(elsewhere);
  };

  const showErrors = (where, comfort, told) => {
    errors?.remove();
    errors = undefined;
    const { list, left_out: rest } = told;
    if (!list.length) return;
    errors = element("section", page.failed ? "errors all" : "errors");
    errors.setAttribute("role", "alert");
    errors.append(element("h1", "", `${where}: ${number(told)}`), element("p", "", comfort));
    if (!page.failed) {
      const close = element("button", "close", "×");
      close.setAttribute("aria-label", "Close");
      close.addEventListener("click", () => errors.remove());
      errors.append(close);
    }
    const items = element("ol", "");
    for (const { message, path, line, column, excerpt, caret, hint } of list) {
      const item = element("li", "");
      item.append(element("div", "what", message));
      if (path) {
        const place = element("button", "place", [path, line, column].filter(Boolean).join(":"));
        place.addEventListener("click", () => open(path, line ?? 1, column));
        item.append(place);
      }
      if (excerpt && line) {
        const head = `${line} | `;
        const before = excerpt.slice(0, (caret ?? 1) - 1).replace(/[^\t]/g, " ");
        const below = caret ? `\n${" ".repeat(head.length)}${before}^` : "";
        item.append(element("pre", "", `${head}${excerpt}${below}`));
      }
      if (hint) item.append(element("div", "hint", `hint: ${hint}`));
      items.append(item);
    }
    if (rest) items.append(element("li", "", `and ${rest} more, in the terminal`));
    errors.append(items);
    root.append(errors);
  };

  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !page.failed) errors?.remove();
  });

  // ---- Links to pages that a build would leave out.

  const linkSheet = new CSSStyleSheet();
  linkSheet.replaceSync(`a[data-bake-mark]::after { content: attr(data-bake-mark); margin-left: .5em; padding: 0 .5em;
    border-radius: 99px; font: 11px/1.5 system-ui, sans-serif; color: #fff; background: #92400e; }
    @media print { a[data-bake-mark]::after { content: none; } }`);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, linkSheet];

  const markLinks = (marks) => {
    for (const link of document.querySelectorAll("a[href]")) {
      const mark = link.origin === location.origin ? marks[link.pathname] : undefined;
      // A link that shows a picture has no room for words.
      if (mark && link.textContent.trim() && link.pathname !== location.pathname) link.dataset.bakeMark = mark;
      else delete link.dataset.bakeMark;
    }
  };

  // ---- A reload that leaves the reader where they are.

  const KEPT = "bake-preview-kept";

  const pathTo = (node) => {
    const path = [];
    for (; node?.parentElement; node = node.parentElement) {
      path.unshift([...node.parentElement.children].indexOf(node));
    }
    return path;
  };
  const nodeAt = (path) => path.reduce((node, i) => node?.children[i], document.documentElement);

  // What somebody has put into forms; secrets and files are none of ours to keep.
  const fields = () =>
    [...document.querySelectorAll("textarea, select, input:not([type=password], [type=file], [type=hidden])")];
  const isTicked = (field) => /^(checkbox|radio)$/.test(field.type);
  const nameOf = (field) => [field.localName, field.type, field.name, field.id, isTicked(field) && field.value].join(" ");
  const stateOf = (field) => {
    if (field.options) return [...field.selectedOptions].map((option) => option.value);
    return isTicked(field) ? field.checked : field.value;
  };
  const isTouched = (field) => {
    if (field.options) {
      const options = [...field.options];
      // Where the page chooses none, the browser has the first one chosen.
      if (field.type === "select-one" && !options.some((option) => option.defaultSelected)) return field.selectedIndex > 0;
      return options.some((option) => option.selected !== option.defaultSelected);
    }
    // What the page gives no value, the browser does.
    if (/^(range|color)$/.test(field.type) && !field.defaultValue) return false;
    return isTicked(field) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
  };
  const put = (field, state) => {
    if (field.options) for (const option of field.options) option.selected = state.includes(option.value);
    else field[isTicked(field) ? "checked" : "value"] = state;
  };

  const reload = () => {
    const active = document.activeElement;
    const kept = {
      address: location.href,
      when: Date.now(),
      scroll: [scrollX, scrollY],
      inner: [...document.body.querySelectorAll("*")]
        .filter((e) => e.scrollTop || e.scrollLeft)
        .map((e) => [pathTo(e), e.scrollLeft, e.scrollTop]),
      details: [...document.querySelectorAll("details")].map((d) => [d.querySelector("summary")?.textContent, d.open]),
      focus: active && active !== document.body && active !== host ? pathTo(active) : null,
      selection: [active?.selectionStart, active?.selectionEnd],
      fields: fields().map((f, i) => [i, nameOf(f), stateOf(f), isTouched(f)]).filter((field) => field[3]),
    };
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(kept));
      history.scrollRestoration = "manual";
    } catch {
      // Without storage the browser keeps what it keeps.
    }
    location.reload();
  };

  const restore = () => {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT));
      sessionStorage.removeItem(KEPT);
    } catch {
      return;
    }
    if (!kept || kept.address !== location.href || Date.now() - kept.when > 60_000) return;
    if (kept.said) return say(kept.said);
    const all = [...document.querySelectorAll("details")];
    kept.details.forEach(([summary, open], i) => {
      const same = (d) => d?.querySelector("summary")?.textContent === summary;
      const found = same(all[i]) ? all[i] : all.find(same);
      if (found) found.open = open;
    });
    const now = fields();
    for (const [i, name, state] of kept.fields) {
      const same = (field) => field && nameOf(field) === name;
      const field = same(now[i]) ? now[i] : now.find(same);
      if (field) put(field, state);
    }
    if (kept.focus) {
      const target = nodeAt(kept.focus);
      target?.focus?.({ preventScroll: true });
      try {
        target?.setSelectionRange?.(...kept.selection);
      } catch {
        // Not a field of text.
      }
    }
    const scroll = () => {
      scrollTo({ left: kept.scroll[0], top: kept.scroll[1], behavior: "instant" });
      for (const [path, left, top] of kept.inner) nodeAt(path)?.scrollTo?.({ left, top, behavior: "instant" });
    };
    scroll();
    // Images without a size move what is below them until they are there; a reader who scrolls meanwhile is right.
    let isMoved = false;
    for (const kind of ["wheel", "touchmove", "keydown", "mousedown"]) {
      addEventListener(kind, () => { isMoved = true; }, { once: true, passive: true });
    }
    const last = () => {
      if (!isMoved) scroll();
      history.scrollRestoration = "auto";
    };
    if (document.readyState === "complete") last();
    else addEventListener("load", () => requestAnimationFrame(last), { once: true });
  };

  // ---- Changes that need no reload.

  const pathOf = (address) => {
    try {
      const url = new URL(address, location);
      return url.origin === location.origin ? decodeURI(url.pathname) : null;
    } catch {
      return null;
    }
  };

  const fresh = (address) => {
    const url = new URL(address, location);
    url.searchParams.set("bake-preview", seen);
    return url.href;
  };

  // Sheets that are still on their way, by the one whose place they take.
  const coming = new Map();

  // The new sheet takes the old one's place once it is there: no moment without styles. One that a later save overtakes goes.
  const swapLink = (link) => {
    coming.get(link)?.remove();
    const next = link.cloneNode();
    coming.set(link, next);
    const settle = (leaves) => {
      if (coming.get(link) !== next) return;
      coming.delete(link);
      leaves.remove();
    };
    next.removeAttribute("integrity");
    next.href = fresh(link.href);
    next.addEventListener("load", () => settle(link), { once: true });
    next.addEventListener("error", () => settle(next), { once: true });
    link.after(next);
  };

  // A sheet with those that it imports.
  const sheetsIn = (sheet) => {
    let rules = [];
    try {
      rules = [...(sheet?.cssRules ?? [])];
    } catch {
      // One of another host shows nothing of itself.
    }
    return [sheet, ...rules.flatMap((rule) => (rule.styleSheet ? sheetsIn(rule.styleSheet) : []))];
  };

  const applyAssets = (changed) => {
    const late = new Set(coming.values());
    const isSwapped = (link) => /\b(stylesheet|icon)\b/i.test(link.rel) && !late.has(link);
    const links = [...document.querySelectorAll("link[href]")].filter(isSwapped);
    const images = [...document.images];
    const loaded = new Set(performance.getEntriesByType("resource").map((e) => pathOf(e.name)));
    const scripts = new Set([...document.scripts].filter((s) => s.src).map((s) => pathOf(s.src)));
    const ofLinks = new Set();
    const ofImages = [];
    for (const path of changed.map((address) => decodeURI(address))) {
      const shows = (link) => [link, ...sheetsIn(link.sheet)].some((one) => one?.href && pathOf(one.href) === path);
      const asLinks = links.filter(shows);
      const asImages = images.filter((i) => pathOf(i.currentSrc || i.src) === path);
      if (asLinks.length) asLinks.forEach((link) => ofLinks.add(link));
      else if (asImages.length && asImages.every((i) => !i.srcset && i.parentElement?.tagName !== "PICTURE")) {
        ofImages.push(...asImages);
      } else if (asImages.length || scripts.has(path) || loaded.has(path)) return reload();
    }
    ofLinks.forEach(swapLink);
    for (const image of ofImages) image.src = fresh(image.src);
  };

  // ---- Following the renders.

  let source, silence;

  // Of a connection that breaks without a word, as where a phone changes networks, no browser ever tells: too long a silence does.
  const SILENT_MS_MAX = 12_000;
  const UNANSWERED_MS_MAX = 3_000;

  const hear = (news) => {
    if (news.page === "same") [page.file, page.line, page.mark] = [news.file, news.line, news.mark];
    ownBadge();
    const comfort = page.failed
      ? "The page appears as soon as this is mended."
      : "The last good page is shown until this is mended.";
    showErrors(news.whole ? "The site does not render" : "This page does not render", comfort, news.errors);
    showOthers(news.others);
    if (page.failed) return news.errors.list.length ? undefined : reload();
    markLinks(news.marks);
    if (news.page === "moved") {
      const address = new URL(news.to, location).href;
      try {
        const said = `This page has moved here from ${decodeURI(location.pathname)}`;
        sessionStorage.setItem(KEPT, JSON.stringify({ address, when: Date.now(), said }));
      } catch {
        // It moves without a word.
      }
      return location.replace(address);
    }
    if (news.page === "gone") {
      return say(`This page is gone: nothing makes ${decodeURI(location.pathname)} any more.`, true, news.home);
    }
    if (news.page === "changed" || !news.assets) return reload();
    applyAssets(news.assets);
  };

  // A browser has few connections to one server: pages that nobody sees need none.
  const connect = () => {
    if (source || document.hidden) return;
    source = new EventSource(`${OURS}events/${seen}${location.pathname}`);
    expect(UNANSWERED_MS_MAX);
    for (const kind of ["open", "alive", "message"]) source.addEventListener(kind, () => expect(SILENT_MS_MAX));
    source.addEventListener("message", (event) => {
      seen = event.lastEventId;
      hear(JSON.parse(event.data));
    });
    source.addEventListener("error", () => {
      showBadge("preview stopped", "`bake preview` does not answer; this page follows again once it does", true);
      if (source?.readyState !== EventSource.CLOSED) return;
      source = undefined;
      setTimeout(connect, 1000);
    });
  };
  const disconnect = () => {
    clearTimeout(silence);
    source?.close();
    source = undefined;
  };
  // Connects again where nothing comes for so long.
  const expect = (ms) => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      disconnect();
      connect();
    }, ms);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);

  // ---- From an element to its source.

  const placeOf = (event) => {
    const block = event.target.closest?.("[data-bake-source]");
    if (!block) return { file: page.file, line: page.line };
    const [, file, line] = /^(.*):(\d+)$/s.exec(block.dataset.bakeSource) ?? [];
    // Every line of a paragraph and of code is a line of the text still.
    const at = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const old = at ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    const [node, offset] = at ? [at.offsetNode, at.offset] : [old?.startContainer, old?.startOffset];
    let lines = 0;
    if (node && block.contains(node)) {
      const range = document.createRange();
      range.setStart(block, 0);
      range.setEnd(node, offset);
      lines = range.toString().split("\n").length - 1;
    }
    return { file, line: Number(line) + lines };
  };

  const open = async (file, line, column) => {
    if (!file) return say("No file makes this page");
    let done;
    try {
      const reply = await fetch(`${OURS}open`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ file, line, column }),
      });
      done = await reply.json();
    } catch {
      return say("`bake preview` does not answer");
    }
    if (done.opened) return say(`${done.place} is open in your editor`);
    if (!done.exists) return say(`${done.place}: ${done.why}`);
    try {
      await navigator.clipboard.writeText(done.place);
      say(`${done.place} is copied: ${done.why}`);
    } catch {
      say(`${done.place}: ${done.why}`);
    }
  };

  const isAsked = (event) => event.altKey && event.button === 0 && !event.composedPath().includes(host);
  document.addEventListener("mousedown", (event) => isAsked(event) && event.preventDefault(), true);
  document.addEventListener("click", (event) => {
    if (!isAsked(event)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) return page.template ? open(page.template, 1) : say("The template of this page is built in");
    const { file, line } = placeOf(event);
    open(file, line);
  }, true);

  const outline = element("div", "outline");
  document.addEventListener("mousemove", (event) => {
    const block = event.altKey ? event.target.closest?.("[data-bake-source]") : null;
    if (!block) return outline.remove();
    const { left, top, width, height } = block.getBoundingClientRect();
    Object.assign(outline.style, {
      left: `${left - 4}px`, top: `${top - 4}px`, width: `${width + 8}px`, height: `${height + 8}px`,
    });
    root.append(outline);
  }, { passive: true });
  addEventListener("keyup", (event) => event.key === "Alt" && outline.remove());
  addEventListener("blur", () => outline.remove());

  ownBadge();
  restore();
  connect();
})();
