// Computes where a server's time goes, from its metrics before and after a load.

/** Sums and counts from /metrics, read before and after a load. */
export interface StageSums {
  /** Seconds by stage. */
  readonly seconds: ReadonlyMap<string, number>;
  readonly cpuSeconds: number;
  readonly requests: number;
}

export interface StageCosts {
  /**
   * Microseconds of one request by stage. The time of a micro-batch is divided among its requests.
   */
  readonly micros: ReadonlyMap<string, number>;
  /**
   * CPU time of one request in the whole process. It includes, beside the stages, sockets, HTTP,
   * the event loop and garbage collection.
   */
  readonly cpuMicros: number;
}

/** The stages that do work. Waiting is part of the latencies instead. */
const WORK = ['parse', 'state', 'head', 'retrieve', 'encode'];

export async function readStages(port: number): Promise<StageSums> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  const text = await response.text();
  const valueOf = (line: RegExp): number => Number(line.exec(text)?.[1] ?? 0);
  const stage = (name: string, part: string): number =>
    valueOf(new RegExp(`^tandem_stage_duration_seconds_${part}\\{stage="${name}"\\} (\\S+)$`, 'm'));
  return {
    seconds: new Map(WORK.map((name) => [name, stage(name, 'sum')])),
    cpuSeconds: valueOf(/^process_cpu_seconds_total (\S+)$/m),
    // Each request is parsed once, over HTTP and over WebSocket.
    requests: stage('parse', 'count'),
  };
}

/** @returns undefined when there were no requests between the two readings. */
export function stageCosts(before: StageSums, after: StageSums): StageCosts | undefined {
  const requests = after.requests - before.requests;
  if (requests <= 0) return undefined;
  const micros = new Map(
    WORK.map((name) => [
      name,
      ((after.seconds.get(name)! - before.seconds.get(name)!) / requests) * 1e6,
    ]),
  );
  const cpuMicros = ((after.cpuSeconds - before.cpuSeconds) / requests) * 1e6;
  return { micros, cpuMicros };
}
