import { expect, test } from "vitest";
import { bytes, bytesPerSecond, duration, percent, seconds } from "../src/format";
import { roundTop } from "../src/panels";

test("numbers have three digits and a unit", () => {
  expect([0, 1023, 1024, 5.19 * 2 ** 30, 16 * 2 ** 30].map(bytes)).toEqual([
    "0 B",
    "1023 B",
    "1 KiB",
    "5.19 GiB",
    "16 GiB",
  ]);
  expect([0, 0.4, 999, 45_000, 12_345_678].map(bytesPerSecond)).toEqual([
    "0 B/s",
    "0.40 B/s",
    "999 B/s",
    "45 kB/s",
    "12.3 MB/s",
  ]);
  expect([0, 3.14, 12.6, 100].map(percent)).toEqual(["0 %", "3.1 %", "13 %", "100 %"]);
  expect([0, 0.000_2, 0.106, 1.5].map(seconds)).toEqual(["0", "200 µs", "106 ms", "1.50 s"]);
  expect([400, 89_000, 240_000, 7_200_000].map(duration)).toEqual(["0 s", "89 s", "4 min", "2 h"]);
});

test("an axis ends at a round number above the greatest value", () => {
  expect([0, 9, 52, 97].map((max) => roundTop(max, 10))).toEqual([10, 10, 60, 150]);
});
