// One uPlot with a hand-made legend: lines or a stack, common cursor, a strip of states on top.

import uPlot from "uplot";
import type { RunAnswer, Values } from "./api";
import { stateAt } from "./data";
import { clockTime, tickTime, type Format } from "./format";
import { color, faded } from "./theme";

export interface Line {
  label: string;
  /** A CSS variable that holds `#rrggbb`. */
  color: string;
  values: Values;
  format: Format;
  /** What a mean hides; drawn as a faint band. */
  min?: Values | undefined;
  max?: Values | undefined;
  /** Opacity of the area down to zero; none without. */
  fill?: number;
  dashed?: boolean;
  /** Drawn below zero. */
  mirrored?: boolean;
}

export interface Picture {
  times: number[];
  lines: Line[];
  stacked: boolean;
  /** A thin line over a stack: what the means of a bucket hide. */
  peak?: { label: string; values: Values; format: Format } | undefined;
  axis: Format;
  /** Greatest value of the axis for the greatest value that is shown. */
  top: (max: number) => number;
  /** Ticks at powers of two, for bytes. */
  binary?: boolean;
  runs?: readonly RunAnswer[];
}

export interface TimeWindow {
  fromMs: number;
  toMs: number;
}

const HEIGHT = 168;
const STRIP_HEIGHT = 9;
/** Opacity of a layer of a stack. */
const LAYER = 0.72;
const SYNC = uPlot.sync("tidegauge");
const BINARY_STEPS = Array.from({ length: 51 }, (_, power) => 2 ** power);
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TIME_STEPS = [
  ...[1, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 4, 6, 8, 12, 24, 48].map((n) => n * HOUR),
];

export class PlotView {
  private plot: uPlot | undefined;
  private shape = "";
  private picture: Picture | undefined;
  private readonly off = new Set<string>();
  private readonly canvasBox = document.createElement("div");
  private readonly legend = document.createElement("div");
  private readonly tip = document.createElement("div");
  private readonly time = document.createElement("span");
  private readonly sizes: ResizeObserver;

  constructor(
    private readonly box: HTMLElement,
    private readonly window: TimeWindow,
  ) {
    this.canvasBox.className = "plot";
    this.legend.className = "legend";
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.time.className = "time";
    this.time.hidden = true;
    box.append(this.canvasBox, this.legend);
    this.canvasBox.append(this.tip, this.time);
    this.sizes = new ResizeObserver(() => {
      const width = this.canvasBox.clientWidth;
      if (width > 0 && this.plot !== undefined && this.plot.width !== width) {
        this.plot.setSize({ width, height: HEIGHT });
      }
    });
    this.sizes.observe(this.canvasBox);
  }

  destroy(): void {
    this.sizes.disconnect();
    this.plot?.destroy();
    this.box.replaceChildren();
  }

  /** Draws anew in the colours of the theme. */
  recolor(): void {
    this.plot?.redraw(false);
  }

  show(picture: Picture): void {
    this.picture = picture;
    const shape = JSON.stringify([
      picture.stacked,
      picture.peak !== undefined,
      picture.lines.map((line) => [line.label, line.color, line.min !== undefined]),
    ]);
    const data = this.columns(picture);
    if (this.plot === undefined || shape !== this.shape) {
      this.shape = shape;
      this.plot?.destroy();
      this.plot = new uPlot(this.options(picture), data, this.canvasBox);
      this.buildLegend(picture);
    } else {
      this.plot.setData(data);
    }
    this.updateLegend();
  }

  private isOn(line: Line): boolean {
    return !this.off.has(line.label);
  }

  /** The columns that uPlot draws: sums for a stack, negative values for mirrored lines. */
  private columns(picture: Picture): uPlot.AlignedData {
    const { times, lines } = picture;
    const columns: Values[] = [];
    let below: Values | undefined;
    for (const line of lines) {
      let shown = this.isOn(line) ? line.values : times.map(() => null);
      if (line.mirrored) shown = shown.map((value) => (value === null ? null : -value));
      if (picture.stacked) {
        const base = below;
        // A mode that is not there adds nothing; where nothing is there, nothing is drawn.
        const gone = !this.isOn(line);
        shown = times.map((_, row) => {
          const value = gone ? null : (line.values[row] ?? null);
          const under = base?.[row] ?? null;
          return value === null && under === null ? null : (value ?? 0) + (under ?? 0);
        });
        below = shown;
      }
      columns.push(shown);
    }
    if (picture.peak !== undefined) columns.push(picture.peak.values);
    for (const line of lines) {
      if (line.min !== undefined && line.max !== undefined) columns.push(line.min, line.max);
    }
    return [times, ...columns] as uPlot.AlignedData;
  }

  private options(picture: Picture): uPlot.Options {
    const { lines } = picture;
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    const quiet = { points: { show: false }, width: 1.25 };
    lines.forEach((line, index) => {
      // Layers have no outline: one of zero height would cover the one below.
      const fill = picture.stacked ? LAYER : line.fill;
      series.push({
        ...quiet,
        label: line.label,
        ...(picture.stacked ? { width: 0 } : {}),
        stroke: () => color(line.color),
        ...(line.dashed ? { dash: [4, 3] } : {}),
        ...(fill !== undefined && !(picture.stacked && index > 0)
          ? { fill: () => faded(line.color, fill), fillTo: 0 }
          : {}),
      });
      if (picture.stacked && index > 0) {
        bands.push({ series: [index + 1, index], fill: () => faded(line.color, LAYER) });
      }
    });
    if (picture.peak !== undefined) {
      series.push({ ...quiet, width: 1, stroke: () => faded("--muted", 0.8), dash: [2, 3] });
    }
    for (const line of lines) {
      if (line.min === undefined || line.max === undefined) continue;
      const low = series.length;
      series.push({ ...quiet, width: 0 }, { ...quiet, width: 0 });
      bands.push({ series: [low + 1, low], fill: () => faded(line.color, 0.18) });
    }
    const grid = { stroke: () => color("--grid"), width: 1 };
    const text = { stroke: () => color("--muted"), font: "11px system-ui, sans-serif" };
    return {
      width: Math.max(120, this.canvasBox.clientWidth),
      height: HEIGHT,
      ms: 1,
      padding: [6, 4, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 6 },
        sync: { key: SYNC.key, scales: ["x", null] },
      },
      scales: {
        x: { time: true, range: () => [this.window.fromMs, this.window.toMs] },
        y: { range: (_, min, max) => this.range(min, max) },
      },
      axes: [
        {
          ...text,
          grid: { show: false },
          ticks: { show: false },
          size: 22,
          gap: 4,
          space: 64,
          incrs: TIME_STEPS,
          values: (_, splits, _axis, _space, increment) =>
            splits.map((split) => tickTime(split, increment)),
        },
        {
          ...text,
          grid,
          ticks: { show: false },
          size: 58,
          gap: 6,
          space: 34,
          ...(picture.binary ? { incrs: BINARY_STEPS } : {}),
          values: (_, splits) =>
            splits.map((split) => (split === null ? "" : picture.axis(Math.abs(split)))),
        },
      ],
      series,
      bands,
      hooks: {
        setCursor: [() => this.updateLegend()],
        draw: [(plot) => this.drawStrip(plot)],
      },
    };
  }

  private range(min: number | null, max: number | null): [number, number] {
    const picture = this.picture;
    const high = Math.max(max ?? 0, 0);
    const mirrored = picture?.lines.some((line) => line.mirrored) ?? false;
    let top = picture?.top(high) ?? 1;
    if (picture?.runs !== undefined) top *= 1.15;
    const bottom = mirrored ? -(picture?.top(Math.max(-(min ?? 0), 0)) ?? 1) : 0;
    return [bottom, top];
  }

  private drawStrip(plot: uPlot): void {
    const runs = this.picture?.runs;
    if (runs === undefined) return;
    const { ctx, bbox } = plot;
    const height = STRIP_HEIGHT * devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, height);
    ctx.clip();
    ctx.fillStyle = color("--grid");
    ctx.fillRect(bbox.left, bbox.top, bbox.width, height);
    // Up first, so that an outage of less than a pixel is seen.
    for (const up of [true, false]) {
      ctx.fillStyle = color(up ? "--up" : "--down");
      for (const run of runs) {
        if (run.up !== up) continue;
        const from = plot.valToPos(run.from_ms, "x", true);
        const to = plot.valToPos(run.to_ms, "x", true);
        const least = up ? 0 : 2 * devicePixelRatio;
        ctx.fillRect(from, bbox.top, Math.max(to - from, least), height);
      }
    }
    ctx.restore();
  }

  private buildLegend(picture: Picture): void {
    this.legend.replaceChildren(
      ...picture.lines.map((line) => {
        const entry = document.createElement("button");
        entry.type = "button";
        entry.className = "entry";
        const swatch = document.createElement("i");
        swatch.style.setProperty("background", `var(${line.color})`);
        if (line.dashed) swatch.className = "dashed";
        const label = document.createElement("span");
        label.textContent = line.label;
        const value = document.createElement("b");
        entry.append(swatch, label, value);
        entry.setAttribute("aria-pressed", String(this.isOn(line)));
        entry.title = "Show or hide";
        entry.addEventListener("click", () => {
          if (!this.off.delete(line.label)) this.off.add(line.label);
          entry.setAttribute("aria-pressed", String(this.isOn(line)));
          if (this.picture !== undefined) this.show(this.picture);
        });
        return entry;
      }),
    );
    if (picture.peak !== undefined) {
      const entry = document.createElement("span");
      entry.className = "entry peak";
      entry.title = "The highest value inside of each interval, of which the areas are the mean";
      const swatch = document.createElement("i");
      entry.append(swatch, picture.peak.label, document.createElement("b"));
      this.legend.append(entry);
    }
  }

  /** Values at the cursor, or the newest ones. */
  private updateLegend(): void {
    const picture = this.picture;
    const plot = this.plot;
    if (picture === undefined || plot === undefined) return;
    const under = plot.cursor.idx ?? null;
    const hovered = under !== null && (plot.cursor.left ?? -1) >= 0;
    const row = hovered ? under : picture.times.length - 1;
    const time = picture.times[row];
    this.time.hidden = !hovered || time === undefined;
    if (!this.time.hidden && time !== undefined) {
      this.time.textContent = clockTime(time);
      this.place(plot, this.time);
    }
    const shown = picture.peak === undefined ? picture.lines : [...picture.lines, picture.peak];
    shown.forEach((line, index) => {
      const entry = this.legend.children[index]?.lastElementChild;
      const value = line.values[row];
      const text = value === null || value === undefined ? "–" : line.format(value);
      if (entry && entry.textContent !== text) entry.textContent = text;
    });
    this.showState(plot, picture);
  }

  private showState(plot: uPlot, picture: Picture): void {
    const left = plot.cursor.left ?? -1;
    const run =
      left >= 0 && picture.runs ? stateAt(picture.runs, plot.posToVal(left, "x")) : undefined;
    // On the chart under the pointer alone, and for outages on all: they explain the others.
    if (run === undefined || (run.up && !plot.over.matches(":hover"))) {
      this.tip.hidden = true;
      return;
    }
    const reason = run.reason !== null && run.reason !== "ok" ? `: ${run.reason}` : "";
    const detail = run.detail !== null ? ` – ${run.detail}` : "";
    this.tip.textContent = `${run.up ? "up" : "down"}${reason}${detail}`;
    this.tip.dataset["state"] = run.up ? "up" : "down";
    this.tip.hidden = false;
    this.place(plot, this.tip);
  }

  /** Puts an element under or over the cursor, inside of the card. */
  private place(plot: uPlot, element: HTMLElement): void {
    const room = this.canvasBox.clientWidth - element.offsetWidth - 2;
    const offset = plot.over.offsetLeft + (plot.cursor.left ?? 0) - element.offsetWidth / 2;
    element.style.setProperty("left", `${Math.max(2, Math.min(room, offset))}px`);
  }
}
