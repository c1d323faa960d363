// The server's answers and how to ask for them. Times are milliseconds since 1970 UTC.

export interface HostAnswer {
  identity: string;
  name: string;
  labels: Record<string, string>;
  first_seen_ms: number;
}

export interface OverviewAnswer {
  host: HostAnswer;
  panels: string[];
  series: Record<string, Record<string, string>[]>;
  refresh_ms: number;
  now_ms: number;
}

export type Values = (number | null)[];

export interface ColumnAnswer {
  field: string;
  tags: Record<string, string>;
  unit: string;
  per_second: boolean;
  values: Values;
  min?: Values;
  max?: Values;
}

export interface RunAnswer {
  from_ms: number;
  to_ms: number;
  up: boolean;
  reason: string | null;
  detail: string | null;
}

export interface ChartAnswer {
  key: string;
  measurement: string;
  tags: Record<string, string>;
  step_ms: number | null;
  bucket_ms: number | null;
  times_ms: number[];
  columns: ColumnAnswer[];
  states?: { samples: number; up_samples: number; runs: RunAnswer[] };
}

export interface PanelAnswer {
  panel: string;
  now_ms: number;
  charts: ChartAnswer[];
}

export interface SamplesEvent {
  now_ms: number;
  panels: PanelAnswer[];
}

/** An answer that is not 2xx, with the server's words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function get<T>(path: string, parameters: Record<string, string>): Promise<T> {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query === "" ? path : `${path}?${query}`, {
    signal: AbortSignal.timeout(20_000),
  });
  if (!response.ok) {
    const body: { error?: string } = await response.json().catch(() => ({}));
    throw new ApiError(response.status, body.error ?? response.statusText);
  }
  return (await response.json()) as T;
}

export function fetchHosts(): Promise<HostAnswer[]> {
  return get("/api/hosts", {});
}

export function fetchOverview(host: string): Promise<OverviewAnswer> {
  return get("/api/overview", { host });
}

export function fetchPanel(
  host: string,
  panel: string,
  fromMs: number,
  toMs: number,
  pixels: number,
): Promise<PanelAnswer> {
  return get("/api/panel", {
    host,
    panel,
    from: String(Math.floor(fromMs)),
    to: String(Math.floor(toMs)),
    pixels: String(Math.round(Math.min(4000, Math.max(10, pixels)))),
  });
}
