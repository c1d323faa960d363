// The page: chooses host and range, reads all panels, then follows the live stream.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import * as api from "./api";
import { checkTitle, emptyCard, MountsCard, PlotCard, type Card } from "./cards";
import { ChartData } from "./data";
import { duration } from "./format";
import { Live } from "./live";
import { check, PANELS } from "./panels";
import type { TimeWindow } from "./plot";
import { setUpTheme } from "./theme";

const RANGES: readonly [label: string, ms: number][] = [
  ["5 m", 300_000],
  ["15 m", 900_000],
  ["1 h", 3_600_000],
  ["6 h", 21_600_000],
  ["24 h", 86_400_000],
];
/** The axis is never shorter, however new the host is. */
const SHORTEST_WINDOW_MS = 60_000;
const DEFAULT_RANGE_MS = 900_000;
/** All is read anew so often, which turns old rows into buckets and heals what came late. */
const RELOAD_MS = 60_000;
const POLL_MS = 2_000;
const ORDER = ["cpu", "load", "memory", "disk_io", "network", "filesystem", "checks"];
const TITLES: Record<string, string> = {
  ...Object.fromEntries(Object.entries(PANELS).map(([panel, spec]) => [panel, spec.title])),
  filesystem: "Disk space",
  checks: "Checks",
};
const WAITING = "Waiting for the first sample…";
const NO_CHECKS = "No checks yet. Start with --check https://example.org to watch an address.";

interface Entry {
  data: ChartData;
  card: Card;
}

function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

class Page {
  private readonly window: TimeWindow = { fromMs: 0, toMs: 1 };
  private readonly entries = new Map<string, Map<string, Entry>>();
  private host: api.HostAnswer | undefined;
  private rangeMs: number;
  /** Panels that have had samples at any time. */
  private known = new Set<string>();
  private live: Live | undefined;
  private connected = false;
  private trouble: string | undefined;
  /** Server's clock minus ours. */
  private skewMs = 0;
  private refreshMs = 1_000;
  private loadedMs = 0;
  private loading = false;
  /** Counts hosts and ranges, so that an answer that comes too late is dropped. */
  private generation = 0;

  constructor() {
    const wanted = Number(new URLSearchParams(location.search).get("range")) * 1000;
    this.rangeMs = RANGES.some(([, ms]) => ms === wanted) ? wanted : DEFAULT_RANGE_MS;
  }

  async start(): Promise<void> {
    setUpTheme(byId("theme"), () => this.each((entry) => entry.card.recolor()));
    byId("ranges").append(
      ...RANGES.map(([label, ms]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = label;
        button.setAttribute("aria-pressed", String(ms === this.rangeMs));
        button.addEventListener("click", () => this.chooseRange(ms));
        button.dataset["ms"] = String(ms);
        return button;
      }),
    );
    byId<HTMLSelectElement>("host-select").addEventListener("change", (event) => {
      const select = event.target as HTMLSelectElement;
      void this.chooseHost(select.value);
    });
    window.setInterval(() => this.tick(), 1_000);
    document.addEventListener("visibilitychange", () => this.tick());
    await this.findHosts();
  }

  private now(): number {
    return Date.now() + this.skewMs;
  }

  /** Waits for the first host, then shows the one that the address names, or the first. */
  private async findHosts(): Promise<void> {
    for (;;) {
      try {
        const hosts = await api.fetchHosts();
        this.connected = true;
        const first = hosts[0];
        if (first !== undefined) {
          const wanted = new URLSearchParams(location.search).get("host");
          const named = hosts.find((host) => host.identity === wanted || host.name === wanted);
          this.listHosts(hosts);
          await this.chooseHost((named ?? first).identity);
          return;
        }
        byId("empty").hidden = false;
      } catch {
        this.connected = false;
      }
      this.status();
      await new Promise((resolve) => window.setTimeout(resolve, POLL_MS));
    }
  }

  private listHosts(hosts: readonly api.HostAnswer[]): void {
    const names = hosts.map((host) => host.name);
    byId<HTMLSelectElement>("host-select").replaceChildren(
      ...hosts.map((host) => {
        const twice = names.indexOf(host.name) !== names.lastIndexOf(host.name);
        const option = document.createElement("option");
        option.value = host.identity;
        option.textContent = twice ? `${host.name} (${host.identity})` : host.name;
        return option;
      }),
    );
    byId("host-choice").hidden = hosts.length < 2;
    byId("host-name").hidden = hosts.length >= 2;
  }

  private async chooseHost(identity: string): Promise<void> {
    this.live?.close();
    this.generation += 1;
    const generation = this.generation;
    const overview = await this.retry(() => api.fetchOverview(identity), generation);
    if (overview === undefined) return;
    this.skewMs = overview.now_ms - Date.now();
    this.refreshMs = overview.refresh_ms;
    this.host = overview.host;
    this.known = new Set(overview.panels);
    byId("host-name").textContent = overview.host.name;
    byId<HTMLSelectElement>("host-select").value = identity;
    document.title = `${overview.host.name} – Tidegauge`;
    this.remember();
    this.clear();
    this.arrange();
    await this.load();
    if (generation !== this.generation) return;
    this.live = new Live(identity, this.lastMs() ?? this.now(), {
      samples: (event) => this.samples(event),
      connected: () => {
        this.connected = true;
        this.status();
      },
      lost: () => {
        this.connected = false;
        this.status();
      },
      trouble: (message) => {
        this.trouble = message;
        this.status();
      },
      resync: () => void this.load(),
    });
  }

  private async retry<T>(ask: () => Promise<T>, generation: number): Promise<T | undefined> {
    while (generation === this.generation) {
      try {
        return await ask();
      } catch {
        this.connected = false;
        this.status();
        await new Promise((resolve) => window.setTimeout(resolve, POLL_MS));
      }
    }
    return undefined;
  }

  private chooseRange(ms: number): void {
    this.rangeMs = ms;
    for (const button of byId("ranges").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset["ms"] === String(ms)));
    }
    this.remember();
    this.loading = false;
    void this.load();
  }

  /** Host and range are in the address, so that it can be shared and reloaded. */
  private remember(): void {
    const parameters = new URLSearchParams();
    const several = byId<HTMLSelectElement>("host-select").options.length > 1;
    if (several && this.host !== undefined) parameters.set("host", this.host.identity);
    if (this.rangeMs !== DEFAULT_RANGE_MS) parameters.set("range", String(this.rangeMs / 1000));
    const query = parameters.toString();
    history.replaceState(null, "", query === "" ? location.pathname : `?${query}`);
  }

  private clear(): void {
    this.each((entry) => entry.card.destroy());
    this.entries.clear();
    byId("panels").replaceChildren();
    byId("empty").hidden = true;
  }

  /** Reads all panels anew. */
  private async load(): Promise<void> {
    const host = this.host;
    if (host === undefined || this.loading) return;
    this.loading = true;
    this.loadedMs = this.now();
    const { rangeMs, generation } = this;
    const toMs = this.now();
    const fromMs = toMs - rangeMs;
    const pixels = this.pixels();
    const read = ORDER.map(async (panel) => {
      const answer = await api.fetchPanel(host.identity, panel, fromMs, toMs, pixels);
      if (generation === this.generation && rangeMs === this.rangeMs) this.fill(answer);
    });
    const outcomes = await Promise.allSettled(read);
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined && failed.reason instanceof api.ApiError) {
      this.trouble = failed.reason.message;
    } else if (failed === undefined) {
      this.trouble = undefined;
    }
    if (generation === this.generation && rangeMs === this.rangeMs) this.loading = false;
    this.status();
  }

  /** Device pixels of a plot, of which two samples may share one. */
  private pixels(): number {
    for (const charts of this.entries.values()) {
      for (const { card } of charts.values()) return card.width * Math.max(2, devicePixelRatio);
    }
    const columns = Math.max(1, Math.floor(byId("panels").clientWidth / 400));
    return (byId("panels").clientWidth / columns - 80) * Math.max(2, devicePixelRatio);
  }

  private fill(answer: api.PanelAnswer): void {
    let charts = this.entries.get(answer.panel);
    if (charts === undefined) {
      charts = new Map();
      this.entries.set(answer.panel, charts);
    }
    const gone = new Set(charts.keys());
    let isNew = charts.size === 0;
    for (const chart of answer.charts) {
      gone.delete(chart.key);
      const data = new ChartData(chart);
      const known = charts.get(chart.key);
      if (known === undefined) {
        charts.set(chart.key, { data, card: this.card(answer.panel, data) });
        isNew = true;
      } else {
        known.data = data;
      }
    }
    for (const key of gone) {
      charts.get(key)?.card.destroy();
      charts.delete(key);
      isNew = true;
    }
    if (isNew || charts.size === 0) this.arrange();
    this.moveWindow();
    for (const entry of charts.values()) entry.card.show(entry.data);
  }

  private card(panel: string, data: ChartData): Card {
    if (panel === "filesystem") return new MountsCard();
    const spec = PANELS[panel];
    if (spec !== undefined) return new PlotCard(panel, spec.title, spec, this.window);
    return new PlotCard(panel, checkTitle(data), check, this.window);
  }

  /** Puts the cards into their order, with a word where there is none. */
  private arrange(): void {
    const elements: HTMLElement[] = [];
    for (const panel of ORDER) {
      const cards = [...(this.entries.get(panel)?.values() ?? [])].map((entry) => entry.card);
      if (cards.length > 0) elements.push(...cards.map((card) => card.element));
      else elements.push(emptyCard(panel, TITLES[panel] ?? panel, this.why(panel)));
    }
    byId("panels").replaceChildren(...elements);
  }

  /** Why a panel is empty; nothing while it is read. */
  private why(panel: string): string {
    if (!this.entries.has(panel)) return "";
    if (this.known.has(panel)) return "No samples in this range.";
    return panel === "checks" ? NO_CHECKS : WAITING;
  }

  private samples(event: api.SamplesEvent): void {
    this.skewMs = event.now_ms - Date.now();
    this.trouble = undefined;
    this.moveWindow();
    let isUnknown = false;
    for (const answer of event.panels) {
      for (const chart of answer.charts) {
        const entry = this.entries.get(answer.panel)?.get(chart.key);
        if (entry === undefined) isUnknown = true;
        else entry.data.append(chart);
      }
    }
    if (isUnknown) void this.load();
    this.draw();
  }

  private tick(): void {
    if (this.host === undefined) return;
    if (document.visibilityState === "visible") {
      if (this.now() - this.loadedMs > RELOAD_MS) void this.load();
      this.draw();
    }
    this.status();
  }

  private draw(): void {
    this.moveWindow();
    if (document.visibilityState !== "visible") return;
    this.each((entry) => {
      entry.data.trim(this.window.fromMs);
      entry.card.show(entry.data);
    });
    this.status();
  }

  /** A host that is new fills its charts from the first minute on, not a sliver at their edge. */
  private moveWindow(): void {
    const toMs = this.now();
    let firstMs = toMs;
    this.each(({ data }) => {
      firstMs = Math.min(firstMs, data.firstMs ?? firstMs);
    });
    const shortest = Math.min(SHORTEST_WINDOW_MS, this.rangeMs);
    this.window.toMs = toMs;
    this.window.fromMs = Math.max(toMs - this.rangeMs, Math.min(firstMs, toMs - shortest));
  }

  private lastMs(): number | undefined {
    let last: number | undefined;
    this.each(({ data }) => {
      const time = data.lastMs;
      if (time !== undefined && (last === undefined || time > last)) last = time;
    });
    return last;
  }

  private status(): void {
    const last = this.lastMs();
    const status = byId("status");
    const age = last === undefined ? undefined : this.now() - last;
    let step = this.refreshMs;
    this.each(({ data }) => {
      step = Math.max(step, data.stepMs);
    });
    let state = "live";
    let text = age === undefined ? "no sample yet" : `last sample ${duration(age)} ago`;
    if (!this.connected) {
      state = "lost";
      text = age === undefined ? "not connected" : `not connected, ${text}`;
    } else if (age === undefined) {
      state = "waiting";
    } else if (age > 5_000 + 3 * step) {
      state = "late";
    }
    status.dataset["state"] = state;
    status.dataset["lastMs"] = String(last ?? "");
    const span = byId("status-text");
    if (span.textContent !== text) span.textContent = text;
    const banner = byId("banner");
    const message = !this.connected
      ? "Connection to Tidegauge lost. Trying again…"
      : this.trouble === undefined
        ? ""
        : `The store cannot be read right now: ${this.trouble}`;
    banner.hidden = message === "";
    if (banner.textContent !== message) banner.textContent = message;
  }

  private each(use: (entry: Entry) => void): void {
    for (const charts of this.entries.values()) {
      for (const entry of charts.values()) use(entry);
    }
  }
}

void new Page().start();
