// What each panel shows: which columns become which lines, and the number in its head.

import type { Values } from "./api";
import { latest, type ChartData, type Column } from "./data";
import * as format from "./format";
import type { Line, Picture } from "./plot";

export interface PanelSpec {
  title: string;
  /** The number in the head, from the newest values. */
  headline: (data: ChartData) => string;
  picture: (data: ChartData) => Picture;
}

/** Series of one chart that can still be told apart. */
const MOST_SERIES = 6;

const CPU_MODES: readonly [string, string[], string][] = [
  ["user", ["user_percent"], "--c1"],
  ["nice", ["nice_percent"], "--c6"],
  ["system", ["system_percent"], "--c3"],
  ["irq", ["irq_percent", "softirq_percent"], "--c5"],
  ["steal", ["steal_percent"], "--c4"],
  ["iowait", ["iowait_percent"], "--c8"],
];

function sum(data: ChartData, fields: readonly string[]): Values | undefined {
  const columns = fields.map((field) => data.column(field)).filter((found) => found !== undefined);
  if (columns.length === 0) return undefined;
  return data.times.map((_, row) => {
    const values = columns.map((column) => column.values[row] ?? null);
    const known = values.filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
  });
}

function peak(values: Values | undefined, show: format.Format, label = "peak"): Picture["peak"] {
  return values === undefined ? undefined : { label, values, format: show };
}

/** 1, 2 or 5 times a power of ten above the value, with a little air. */
export function roundTop(value: number, least: number): number {
  const goal = Math.max(value * 1.08, least);
  const power = 10 ** Math.floor(Math.log10(goal));
  for (const factor of [1, 1.5, 2, 3, 4, 5, 6, 8]) {
    if (factor * power >= goal) return factor * power;
  }
  return 10 * power;
}

const cpu: PanelSpec = {
  title: "CPU",
  headline(data) {
    const idle = latest(data.column("idle_percent")?.values);
    if (idle !== null) return format.percent(Math.max(0, 100 - idle));
    const all = CPU_MODES.map(([, fields]) => latest(sum(data, fields)) ?? 0);
    return format.percent(all.reduce((total, value) => total + value, 0));
  },
  picture(data) {
    const lines: Line[] = [];
    for (const [label, fields, color] of CPU_MODES) {
      const values = sum(data, fields);
      if (values !== undefined) lines.push({ label, color, values, format: format.percent });
    }
    const idle = data.column("idle_percent")?.min;
    const busiest = idle?.map((value) => (value === null ? null : Math.min(100, 100 - value)));
    return {
      times: data.times,
      lines,
      stacked: true,
      peak: peak(busiest, format.percent),
      axis: format.percent,
      top: (max) => Math.min(100, roundTop(max, 10)),
    };
  },
};

const load: PanelSpec = {
  title: "Load",
  headline: (data) => {
    const value = latest(data.column("load1")?.values);
    return value === null ? "" : value.toFixed(2);
  },
  picture(data) {
    const lines: Line[] = [];
    const rows: [string, string, string, number | undefined][] = [
      ["1 min", "load1", "--c1", 0.14],
      ["5 min", "load5", "--c2", undefined],
      ["15 min", "load15", "--c3", undefined],
    ];
    for (const [label, field, color, fill] of rows) {
      const column = data.column(field);
      if (column === undefined) continue;
      const line: Line = { label, color, values: column.values, format: (v) => v.toFixed(2) };
      if (fill !== undefined) Object.assign(line, { fill, min: column.min, max: column.max });
      lines.push(line);
    }
    return {
      times: data.times,
      lines,
      stacked: false,
      axis: (value) => format.digits(value),
      top: (max) => roundTop(max, 0.5),
    };
  },
};

const memory: PanelSpec = {
  title: "Memory",
  headline(data) {
    const used = latest(data.column("used_bytes")?.values);
    const total = latest(data.column("total_bytes")?.values);
    if (used === null) return "";
    return total === null
      ? format.bytes(used)
      : `${format.bytes(used)} of ${format.bytes(total)}`;
  },
  picture(data) {
    const used = data.column("used_bytes");
    const available = data.column("available_bytes");
    const free = data.column("free_bytes");
    const lines: Line[] = [];
    const add = (label: string, color: string, values: Values | undefined) => {
      if (values !== undefined) lines.push({ label, color, values, format: format.bytes });
    };
    add("used", "--c1", used?.values);
    // Available = free + what caches would give back.
    const reclaimable = available?.values.map((value, row) => {
      const rest = free?.values[row] ?? null;
      return value === null || rest === null ? null : Math.max(0, value - rest);
    });
    add("cache", "--c2", reclaimable);
    add("free", "--c7", free?.values);
    const total = latest(data.column("total_bytes")?.values);
    return {
      times: data.times,
      lines,
      stacked: true,
      peak: peak(used?.max, format.bytes),
      axis: format.bytes,
      top: (max) => total ?? max * 1.05,
      binary: true,
    };
  },
};

/** In above the axis, out below it, one colour per device. */
function traffic(
  title: string,
  tag: string,
  above: [field: string, word: string],
  below: [field: string, word: string],
): PanelSpec {
  const busiest = (data: ChartData) => {
    const activity = (tags: Record<string, string>) => {
      const columns = [data.column(above[0], tags), data.column(below[0], tags)];
      const values = columns.flatMap((column) => column?.values ?? []);
      return values.reduce<number>((total, value) => total + (value ?? 0), 0);
    };
    const all = data.series().map((tags) => ({ tags, activity: activity(tags) }));
    // The loopback interface is never the first thing to look at.
    const rank = (one: { tags: Record<string, string>; activity: number }) =>
      one.tags[tag] === "lo" ? -1 : one.activity;
    all.sort((one, other) => rank(other) - rank(one));
    // Where there are many, those that did nothing are left out, but for the first.
    const busy = all.filter((one, index) => index === 0 || all.length <= 3 || one.activity > 0);
    const shown = busy.slice(0, MOST_SERIES).map((one) => one.tags);
    return shown.sort((one, other) => (one[tag] ?? "").localeCompare(other[tag] ?? ""));
  };
  const totals = (data: ChartData, field: string) =>
    data
      .series()
      .filter((tags) => tags[tag] !== "lo")
      .map((tags) => latest(data.column(field, tags)?.values) ?? 0)
      .reduce((total, value) => total + value, 0);
  return {
    title,
    headline: (data) =>
      `${above[1]} ${format.bytesPerSecond(totals(data, above[0]))}  ` +
      `${below[1]} ${format.bytesPerSecond(totals(data, below[0]))}`,
    picture(data) {
      const lines: Line[] = [];
      busiest(data).forEach((tags, index) => {
        const color = `--c${index + 1}`;
        const add = (column: Column | undefined, word: string, mirrored: boolean) => {
          if (column === undefined) return;
          const label = `${tags[tag] ?? "?"} ${word}`;
          const fill = mirrored ? 0.1 : 0.22;
          const { values } = column;
          const format_ = format.bytesPerSecond;
          lines.push({ label, color, values, format: format_, fill, mirrored, dashed: mirrored });
        };
        add(data.column(above[0], tags), above[1], false);
        add(data.column(below[0], tags), below[1], true);
      });
      return {
        times: data.times,
        lines,
        stacked: false,
        axis: format.bytesPerSecond,
        top: (max) => roundTop(max, 1000),
      };
    },
  };
}

const PHASES: Record<string, string> = {
  resolve_seconds: "--c5",
  connect_seconds: "--c3",
  tls_seconds: "--c4",
  first_byte_seconds: "--c1",
  transfer_seconds: "--c2",
};
const PHASE_ORDER = Object.keys(PHASES);

/** A check: states on top, the phases of its answer stacked. */
export const check: PanelSpec = {
  title: "Check",
  headline(data) {
    const total = latest(data.column("total_seconds")?.values);
    return total === null ? "" : format.seconds(total);
  },
  picture(data) {
    const phases = data.columns.filter((column) => column.field !== "total_seconds");
    const place = (field: string) => (PHASE_ORDER.indexOf(field) + 99) % 99;
    phases.sort((one, other) => place(one.field) - place(other.field));
    const shown = phases.length > 0 ? phases : data.columns;
    const lines = shown.map((column, index): Line => {
      const label = column.field.replace(/_seconds$/, "").replaceAll("_", " ");
      const color = PHASES[column.field] ?? `--c${(index % 8) + 1}`;
      return { label, color, values: column.values, format: format.seconds };
    });
    return {
      times: data.times,
      lines,
      stacked: true,
      peak: peak(data.column("total_seconds")?.max, format.seconds, "slowest"),
      axis: format.seconds,
      top: (max) => roundTop(max, 0.001),
      runs: data.runs,
    };
  },
};

/** The panels with one chart, in the order of the page. */
export const PANELS: Record<string, PanelSpec> = {
  cpu,
  load,
  memory,
  disk_io: traffic("Disk I/O", "device", ["read_bytes", "read"], ["written_bytes", "write"]),
  network: traffic("Network", "interface", ["received_bytes", "in"], ["transmitted_bytes", "out"]),
};
