// The stream of new samples, with reconnection.

import type { SamplesEvent } from "./api";

const RETRY_MS = 2_000;

export interface LiveHandlers {
  samples(event: SamplesEvent): void;
  /** The stream is open, or open again. */
  connected(): void;
  /** The stream broke; it is tried again by itself. */
  lost(): void;
  /** The server cannot read its store right now. */
  trouble(message: string): void;
  /** Something was missed: read everything anew. */
  resync(): void;
}

/** A stream until it is closed. */
export class Live {
  private source: EventSource | undefined;
  private timer: number | undefined;

  constructor(
    private readonly host: string,
    private sinceMs: number,
    private readonly handlers: LiveHandlers,
  ) {
    this.open();
  }

  close(): void {
    window.clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  private open(): void {
    const parameters = new URLSearchParams({
      host: this.host,
      since: String(Math.floor(this.sinceMs)),
    });
    const source = new EventSource(`/api/live?${parameters.toString()}`);
    this.source = source;
    source.addEventListener("open", () => this.handlers.connected());
    source.addEventListener("samples", (event) => {
      this.sinceMs = Number(event.lastEventId) || this.sinceMs;
      this.handlers.samples(JSON.parse(event.data) as SamplesEvent);
    });
    source.addEventListener("trouble", (event) => {
      const { error } = JSON.parse(event.data) as { error: string };
      this.handlers.trouble(error);
    });
    source.addEventListener("resync", () => this.handlers.resync());
    source.addEventListener("error", () => {
      this.handlers.lost();
      // Browsers try again by themselves after a broken connection, but not after a status.
      if (source.readyState === EventSource.CLOSED) {
        this.timer = window.setTimeout(() => this.open(), RETRY_MS);
      }
    });
  }
}
