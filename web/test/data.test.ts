import { expect, test } from "vitest";
import type { ChartAnswer, RunAnswer, Values } from "../src/api";
import { ChartData, latest, stateAt } from "../src/data";

function chart(times: number[], values: Values, runs?: RunAnswer[]): ChartAnswer {
  return {
    key: "m",
    measurement: "m",
    tags: {},
    step_ms: 1000,
    bucket_ms: null,
    times_ms: times,
    columns: [{ field: "f", tags: {}, unit: "", per_second: false, values }],
    ...(runs === undefined ? {} : { states: { samples: 0, up_samples: 0, runs } }),
  };
}

function run(from: number, to: number, up: boolean, reason: string | null): RunAnswer {
  return { from_ms: from, to_ms: to, up, reason, detail: null };
}

test("a sample that is there already is not appended again", () => {
  const data = new ChartData(chart([1000, 2000], [1, 2]));
  expect(data.append(chart([1000, 2000, 3000], [9, 9, 3]))).toBe(1);
  expect(data.times).toEqual([1000, 2000, 3000]);
  expect(data.column("f")?.values).toEqual([1, 2, 3]);
  expect(data.lastMs).toBe(3000);
});

test("a silence of more than 2.5 steps breaks the line", () => {
  const data = new ChartData(chart([1000], [1]));
  data.append(chart([3500, 6100], [2, 3]));
  expect(data.times).toEqual([1000, 3500, 4500, 6100]);
  expect(data.column("f")?.values).toEqual([1, 2, null, 3]);
});

test("a new column begins where it was first seen", () => {
  const data = new ChartData(chart([1000], [1]));
  const more = chart([2000], [2]);
  more.columns.push({ field: "g", tags: {}, unit: "", per_second: false, values: [7] });
  data.append(more);
  expect(data.column("g")?.values).toEqual([null, 7]);
  expect(latest(data.column("f")?.values)).toBe(2);
});

test("what leaves the window is forgotten, but for one sample at its edge", () => {
  const data = new ChartData(chart([1000, 2000, 3000], [1, 2, 3], [run(0, 1500, true, "ok")]));
  data.trim(2500);
  expect(data.times).toEqual([2000, 3000]);
  expect(data.runs).toEqual([]);
});

test("states grow, change and break", () => {
  const data = new ChartData(chart([], [], [run(0, 5000, true, null)]));
  data.append(chart([], [], [run(0, 6000, true, "ok")]));
  data.append(chart([], [], [run(3000, 6000, true, "ok"), run(6000, 8000, false, "timeout")]));
  data.append(chart([], [], [run(6000, 9000, false, "timeout")]));
  data.append(chart([], [], [run(20_000, 21_000, true, "ok")]));
  expect(data.runs.map((one) => [one.from_ms, one.to_ms, one.up])).toEqual([
    [0, 6000, true],
    [6000, 9000, false],
    [20_000, 21_000, true],
  ]);
  expect(stateAt(data.runs, 8500)?.reason).toBe("timeout");
  expect(stateAt(data.runs, 15_000)).toBeUndefined();
});
