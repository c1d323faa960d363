// The cards of the page: one per chart, one for all mounts; and what they say while empty.

import { latest, type ChartData } from "./data";
import { bytes, duration, percent } from "./format";
import { PlotView, type TimeWindow } from "./plot";
import type { PanelSpec } from "./panels";

export interface Card {
  readonly element: HTMLElement;
  /** Width of the plot in CSS pixels. */
  readonly width: number;
  show(data: ChartData): void;
  recolor(): void;
  destroy(): void;
}

interface Frame {
  element: HTMLElement;
  title: HTMLElement;
  badge: HTMLElement;
  headline: HTMLElement;
  body: HTMLElement;
}

function make(tag: string, className: string, text = ""): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function frame(panel: string, title: string): Frame {
  const element = make("section", "card");
  element.dataset["panel"] = panel;
  const head = make("div", "head");
  const found: Frame = {
    element,
    title: make("h2", "title", title),
    badge: make("span", "badge"),
    headline: make("span", "headline"),
    body: make("div", "body"),
  };
  found.title.id = `title-${panel}-${title}`.replace(/[^\w-]+/g, "-");
  element.setAttribute("aria-labelledby", found.title.id);
  found.badge.hidden = true;
  head.append(found.title, found.badge, found.headline);
  element.append(head, found.body);
  return found;
}

/** A card that says what will come. */
export function emptyCard(panel: string, title: string, text: string): HTMLElement {
  const { element, body } = frame(panel, title);
  element.classList.add("vacant");
  body.append(make("p", "vacant-text", text));
  return element;
}

/** A card with one chart. */
export class PlotCard implements Card {
  readonly element: HTMLElement;
  private readonly parts: Frame;
  private readonly view: PlotView;

  constructor(
    panel: string,
    title: string,
    private readonly spec: PanelSpec,
    private readonly window: TimeWindow,
  ) {
    this.parts = frame(panel, title);
    this.element = this.parts.element;
    this.parts.title.title = title;
    this.view = new PlotView(this.parts.body, window);
  }

  get width(): number {
    return Math.max(100, this.parts.body.clientWidth - 62);
  }

  show(data: ChartData): void {
    this.parts.headline.textContent = this.spec.headline(data);
    this.element.dataset["points"] = String(data.times.length);
    this.element.dataset["lastMs"] = String(data.lastMs ?? "");
    if (data.hasStates) this.showState(data);
    this.view.show(this.spec.picture(data));
  }

  recolor(): void {
    this.view.recolor();
  }

  destroy(): void {
    this.view.destroy();
    this.element.remove();
  }

  private showState(data: ChartData): void {
    const { badge, headline } = this.parts;
    const last = data.runs.at(-1);
    badge.hidden = last === undefined;
    if (last === undefined) return;
    badge.dataset["state"] = last.up ? "up" : "down";
    const reason = last.up || last.reason === null ? "" : ` · ${last.reason}`;
    badge.textContent = (last.up ? "up" : "down") + reason;
    badge.title = last.detail ?? "";
    let up = 0;
    let all = 0;
    for (const run of data.runs) {
      const length = Math.max(0, run.to_ms - Math.max(run.from_ms, this.window.fromMs));
      all += length;
      if (run.up) up += length;
    }
    if (all > 0) {
      const share = Math.floor((up / all) * 10_000) / 100;
      const time = last.up ? headline.textContent : `for ${duration(last.to_ms - last.from_ms)}`;
      headline.textContent = `${time}${time === "" ? "" : " · "}${share} % up`;
    }
  }
}

/** A card with one bar per mount. */
export class MountsCard implements Card {
  readonly element: HTMLElement;
  private readonly parts: Frame;

  constructor() {
    this.parts = frame("filesystem", "Disk space");
    this.element = this.parts.element;
  }

  get width(): number {
    return Math.max(100, this.parts.body.clientWidth - 62);
  }

  show(data: ChartData): void {
    this.element.dataset["points"] = String(data.times.length);
    this.element.dataset["lastMs"] = String(data.lastMs ?? "");
    const of = (field: string, tags: Record<string, string>) =>
      latest(data.column(field, tags)?.values);
    const mounts = data.series().map((tags) => ({
      tags,
      used: of("used_percent", tags),
      available: of("available_bytes", tags),
      total: of("total_bytes", tags),
      responding: of("responding", tags) !== 0,
    }));
    const size = (tags: Record<string, string>) => (tags["mount"] ?? "").length;
    mounts.sort((one, other) => size(one.tags) - size(other.tags));
    // One device that is mounted at several places is told once, at the shortest.
    const shown = mounts.filter(
      (mount, index) =>
        mounts.findIndex(
          (first) => first.tags["device"] === mount.tags["device"] && first.total === mount.total,
        ) === index,
    );
    this.parts.headline.textContent = shown.length > 1 ? `${shown.length} file systems` : "";
    const list = make("ul", "mounts");
    for (const mount of shown) {
      const row = make("li", "mount");
      row.title = `${mount.tags["device"] ?? ""} ${mount.tags["fstype"] ?? ""}`.trim();
      const name = make("span", "mount-name", mount.tags["mount"] ?? "?");
      const known = mount.available !== null && mount.total !== null;
      const text = !mount.responding
        ? "does not respond"
        : known
          ? `${bytes(mount.available ?? 0)} free of ${bytes(mount.total ?? 0)}`
          : "";
      const level = mount.used ?? 0;
      const share = make("b", "mount-share", mount.used === null ? "–" : percent(level));
      const bar = make("div", "bar");
      bar.setAttribute("role", "meter");
      bar.setAttribute("aria-label", `${mount.tags["mount"] ?? ""} used`);
      bar.setAttribute("aria-valuemin", "0");
      bar.setAttribute("aria-valuemax", "100");
      bar.setAttribute("aria-valuenow", level.toFixed(1));
      const fill = make("i", "");
      fill.style.setProperty("width", `${Math.min(100, Math.max(0, level))}%`);
      bar.dataset["level"] = level >= 95 ? "full" : level >= 85 ? "high" : "fine";
      bar.append(fill);
      row.append(name, make("span", "mount-text", text), share, bar);
      list.append(row);
    }
    this.parts.body.replaceChildren(list);
  }

  recolor(): void {
    // Its colours are CSS.
  }

  destroy(): void {
    this.element.remove();
  }
}

/** The name of a check: its target without needless words. */
export function checkTitle(data: ChartData): string {
  const { target, ...rest } = data.tags;
  return [target ?? data.key, ...Object.values(rest)].join(" · ").replace(/^https?:\/\//, "");
}

