// How the load generator sends requests: one interface for HTTP and WebSocket.

/** 'refused' means that the server answers overload; 'failed' is any other error, or no answer. */
export type AnswerKind = 'answered' | 'refused' | 'failed';

export interface Client {
  /** Sends question `index`, at once or when a connection is free; calls `done` with its answer. */
  send(index: number, done: (answer: AnswerKind) => void): void;
  close(): void;
}
