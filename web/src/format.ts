// Numbers and times as people read them.

export type Format = (value: number) => string;

function scaled(value: number, base: number, units: readonly string[]): string {
  const sign = value < 0 ? "−" : "";
  let rest = Math.abs(value);
  let index = 0;
  while (rest >= base * 0.9995 && index < units.length - 1) {
    rest /= base;
    index += 1;
  }
  return `${sign}${digits(rest)} ${units[index]}`;
}

/** Three significant digits, no needless zeros behind the point of whole numbers. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (Number.isInteger(value) && size < 1000) return String(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  return value.toFixed(size < 0.01 ? 3 : 2);
}

export const bytes: Format = (value) =>
  scaled(Math.round(value), 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);

export const bytesPerSecond: Format = (value) =>
  scaled(Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value), 1000, [
    "B/s",
    "kB/s",
    "MB/s",
    "GB/s",
    "TB/s",
  ]);

export const percent: Format = (value) =>
  `${Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value)} %`;

export const plain: Format = (value) => digits(value);

export const seconds: Format = (value) => {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.000_999_5) return `${digits(Math.round(value * 1e6))} µs`;
  if (size < 0.999_5) return `${digits(Math.round(value * 1e5) / 100)} ms`;
  return `${digits(value)} s`;
};

/** How long ago, or how long: `3 s`, `4 min`, `2 h`, `5 d`. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const MINUTES = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export function clockTime(ms: number): string {
  return TIME.format(ms);
}

/** The text of a tick of the time axis; seconds only where ticks are closer than a minute. */
export function tickTime(ms: number, incrementMs: number): string {
  if (incrementMs >= 86_400_000) return DAY.format(ms);
  return incrementMs < 60_000 ? TIME.format(ms) : MINUTES.format(ms);
}
