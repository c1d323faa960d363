// Opens the page of a running Tidegauge in headless Chromium and checks what a person would.
//
//   node test/browser.mjs http://127.0.0.1:7710 [folder for screenshots]
//
// Charts have pixels, a new sample arrives without a reload, nothing is logged as an error,
// nothing fails to load or comes from elsewhere, and no width scrolls sideways.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [base, screenshots] = process.argv.slice(2);
if (base === undefined) {
  console.error("usage: node test/browser.mjs URL [folder for screenshots]");
  process.exit(2);
}
if (screenshots !== undefined) mkdirSync(screenshots, { recursive: true });

/** Panels that every host has; disks, networks and checks may be missing in a container. */
const EXPECTED = (process.env.TIDEGAUGE_PANELS ?? "cpu,load,memory").split(",");
const DEADLINE_MS = 30_000;
const problems = [];

function expect(truth, words) {
  console.log(`${truth ? "ok  " : "FAIL"} ${words}`);
  if (!truth) problems.push(words);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

async function open(name, options) {
  const context = await browser.newContext({ deviceScaleFactor: 1, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") {
      problems.push(`${name}: console ${message.type()}: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => problems.push(`${name}: ${error}`));
  page.on("requestfailed", (request) => {
    // The live stream is cut when the page is closed.
    if (!request.url().includes("/api/live")) problems.push(`${name}: failed ${request.url()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) problems.push(`${name}: external ${request.url()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) {
      problems.push(`${name}: status ${response.status()} of ${response.url()}`);
    }
  });
  await page.goto(base, { waitUntil: "load" });
  for (const panel of EXPECTED) {
    await page.waitForFunction(
      (wanted) =>
        Number(document.querySelector(`.card[data-panel="${wanted}"]`)?.dataset.points) > 1,
      panel,
    );
  }
  // Once all panels are read the live stream begins.
  await page.waitForSelector('#status[data-state="live"]');
  return { page, close: () => context.close() };
}

/** Pixels of each canvas that are not transparent, of those inside of the plots. */
function pixels(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll(".card[data-points] canvas")].map((canvas) => {
      const { width, height } = canvas;
      const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
      const colors = new Set();
      let drawn = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] === 0) continue;
        drawn += 1;
        colors.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
      }
      const panel = canvas.closest(".card").dataset.panel;
      return { panel, drawn, colors: colors.size, share: drawn / (width * height) };
    }),
  );
}

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

const shot = async (page, name) => {
  if (screenshots !== undefined) {
    await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  }
};

try {
  const light = await open("light", {
    colorScheme: "light",
    viewport: { width: 1280, height: 860 },
  });
  const { page } = light;
  const drawn = await pixels(page);
  expect(drawn.length >= EXPECTED.length, `${drawn.length} charts are drawn`);
  for (const { panel, drawn: count, colors, share } of drawn) {
    expect(count > 500 && colors > 5, `${panel} has pixels (${(share * 100).toFixed(0)} %)`);
  }
  expect((await page.title()).endsWith("– Tidegauge"), "the title names the host");

  const state = () =>
    page.evaluate(() => ({
      last: Number(document.querySelector("#status").dataset.lastMs),
      points: Number(document.querySelector('.card[data-panel="cpu"]').dataset.points),
      loads: performance.getEntriesByType("navigation").length,
      mark: window.wasHere === true,
    }));
  await page.evaluate(() => {
    window.wasHere = true;
  });
  const before = await state();
  await page.waitForFunction(
    (last) => Number(document.querySelector("#status").dataset.lastMs) > last,
    before.last,
  );
  const after = await state();
  expect(after.last > before.last && after.mark, "a new sample arrives without a reload");
  const text = await page.textContent("#status-text");
  expect(/last sample \d+ s ago/.test(text), `the status says so: ${text}`);

  // The cursor is in common: the time under another chart follows.
  const box = await page.locator('.card[data-panel="cpu"] .u-over').boundingBox();
  await page.mouse.move(box.x + box.width * 0.7, box.y + box.height / 2);
  await page.waitForFunction(
    () => document.querySelector('.card[data-panel="load"] .time').hidden === false,
  );
  expect(true, "the cursor is in common across charts");
  await shot(page, "cursor");
  await page.mouse.move(2, 2);
  await page.waitForFunction(
    () => document.querySelector('.card[data-panel="load"] .time').hidden,
  );
  expect((await overflow(page)) <= 0, "light at 1280 does not scroll sideways");
  await shot(page, "light");

  const answer = page.waitForResponse((response) => response.url().includes("/api/panel"));
  await page.getByRole("button", { name: "5 m", exact: true }).click();
  expect((await answer).ok(), "another range is read");
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.getByRole("button", { name: /^Theme/ }).click();
  const theme = await page.evaluate(() => document.documentElement.dataset.theme);
  expect(theme === "dark", "the theme can be chosen");
  await light.close();

  const dark = await open("dark", {
    colorScheme: "dark",
    viewport: { width: 1280, height: 860 },
  });
  const background = await dark.page.evaluate(
    () => getComputedStyle(document.body).backgroundColor,
  );
  expect(/rgb\((\d|[1-3]\d), /.test(background), `dark follows the system (${background})`);
  expect((await overflow(dark.page)) <= 0, "dark at 1280 does not scroll sideways");
  await shot(dark.page, "dark");
  await dark.close();

  const narrow = await open("narrow", {
    colorScheme: "light",
    viewport: { width: 400, height: 800 },
  });
  expect((await overflow(narrow.page)) <= 0, "400 pixels do not scroll sideways");
  const narrowed = await pixels(narrow.page);
  expect(
    narrowed.every(({ drawn: count }) => count > 300),
    "charts are drawn at 400 pixels",
  );
  await shot(narrow.page, "narrow");
  await narrow.close();
} catch (error) {
  problems.push(String(error));
} finally {
  await browser.close();
}

for (const problem of problems) console.error(`problem: ${problem}`);
console.log(problems.length === 0 ? "the page works" : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
