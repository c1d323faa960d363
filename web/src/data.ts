// What one chart shows: columns over one time axis, grown by live samples and trimmed at the left.
// No drawing here.

import type { ChartAnswer, ColumnAnswer, RunAnswer, Values } from "./api";

/** A series that is silent for longer than so many of its steps has a gap, as on the server. */
const GAP_STEPS = 2.5;

export interface Column {
  field: string;
  tags: Record<string, string>;
  values: Values;
  min: Values | undefined;
  max: Values | undefined;
}

export class ChartData {
  readonly key: string;
  readonly tags: Record<string, string>;
  stepMs: number;
  bucketMs: number | null;
  times: number[];
  columns: Column[];
  runs: RunAnswer[];
  readonly hasStates: boolean;

  constructor(answer: ChartAnswer) {
    this.key = answer.key;
    this.tags = answer.tags;
    this.stepMs = answer.step_ms ?? 0;
    this.bucketMs = answer.bucket_ms;
    this.times = answer.times_ms;
    this.columns = answer.columns.map((column) => ({
      field: column.field,
      tags: column.tags,
      values: column.values,
      min: column.min,
      max: column.max,
    }));
    this.runs = answer.states?.runs ?? [];
    this.hasStates = answer.states !== undefined;
  }

  /** The oldest time that has a value or a state. */
  get firstMs(): number | undefined {
    return this.times[0] ?? this.runs[0]?.from_ms;
  }

  /** The newest time that has a value or a state. */
  get lastMs(): number | undefined {
    const run = this.runs.at(-1);
    const state = run === undefined ? undefined : run.to_ms - this.stepMs;
    const time = this.times.at(-1);
    if (time === undefined || state === undefined) return time ?? state;
    return Math.max(time, state);
  }

  /** Appends samples that are newer than what is there; returns how many were. */
  append(answer: ChartAnswer): number {
    if (this.stepMs === 0) this.stepMs = answer.step_ms ?? 0;
    const ends = answer.columns.map((column) => this.columnOf(column));
    let added = 0;
    answer.times_ms.forEach((time, row) => {
      const last = this.times.at(-1);
      if (last !== undefined && time <= last) return;
      if (last !== undefined && this.isGap(time - last)) this.pushRow(last + this.stepMs);
      this.pushRow(time);
      added += 1;
      answer.columns.forEach((column, index) => {
        const value = column.values[row] ?? null;
        const end = ends[index];
        if (end === undefined) return;
        end.values[end.values.length - 1] = value;
        if (end.min !== undefined) end.min[end.min.length - 1] = column.min?.[row] ?? value;
        if (end.max !== undefined) end.max[end.max.length - 1] = column.max?.[row] ?? value;
      });
    });
    for (const run of answer.states?.runs ?? []) added += this.addRun(run) ? 1 : 0;
    return added;
  }

  /** Forgets what is older, but for one time that the line at the left edge comes from. */
  trim(fromMs: number): void {
    let first = this.times.findIndex((time) => time >= fromMs);
    if (first < 0) first = this.times.length;
    first = Math.max(0, first - 1);
    if (first > 0) {
      this.times.splice(0, first);
      for (const column of this.columns) {
        for (const values of [column.values, column.min, column.max]) values?.splice(0, first);
      }
    }
    this.runs = this.runs.filter((run) => run.to_ms > fromMs);
  }

  column(field: string, tags?: Record<string, string>): Column | undefined {
    return this.columns.find(
      (column) => column.field === field && (tags === undefined || same(column.tags, tags)),
    );
  }

  /** The tags of its series, each once, in the order of the answer. */
  series(): Record<string, string>[] {
    const found: Record<string, string>[] = [];
    for (const { tags } of this.columns) {
      if (!found.some((known) => same(known, tags))) found.push(tags);
    }
    return found;
  }

  private columnOf(answer: ColumnAnswer): Column {
    const known = this.column(answer.field, answer.tags);
    if (known !== undefined) return known;
    const nothing = (): Values => new Array<number | null>(this.times.length).fill(null);
    const column: Column = {
      field: answer.field,
      tags: answer.tags,
      values: nothing(),
      min: undefined,
      max: undefined,
    };
    this.columns.push(column);
    return column;
  }

  private isGap(silenceMs: number): boolean {
    const spacing = Math.max(this.stepMs, this.bucketMs ?? 0);
    return spacing > 0 && silenceMs > spacing * GAP_STEPS;
  }

  private pushRow(time: number): void {
    this.times.push(time);
    for (const column of this.columns) {
      for (const values of [column.values, column.min, column.max]) values?.push(null);
    }
  }

  private addRun(run: RunAnswer): boolean {
    const last = this.runs.at(-1);
    if (last !== undefined && run.to_ms <= last.to_ms) return false;
    const joins = last !== undefined && !this.isGap(run.from_ms - last.to_ms + this.stepMs);
    if (last === undefined || !joins) {
      this.runs.push({ ...run });
      return true;
    }
    // A long range does not know the reasons of all its runs.
    if (last.up === run.up && (run.up || last.reason === null || last.reason === run.reason)) {
      last.to_ms = run.to_ms;
      last.reason ??= run.reason;
      last.detail ??= run.detail;
      return true;
    }
    const from = Math.max(run.from_ms, last.from_ms);
    last.to_ms = from;
    this.runs.push({ ...run, from_ms: from });
    return true;
  }
}

export function same(one: Record<string, string>, other: Record<string, string>): boolean {
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
  );
}

/** The newest value that is there. */
export function latest(values: Values | undefined): number | null {
  if (values === undefined) return null;
  for (let row = values.length - 1; row >= 0; row -= 1) {
    const value = values[row];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** The state at a time, if any. */
export function stateAt(runs: readonly RunAnswer[], ms: number): RunAnswer | undefined {
  return runs.find((run) => run.from_ms <= ms && ms < run.to_ms);
}
