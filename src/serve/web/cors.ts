// Cross-origin resource sharing (CORS): which pages of other origins may read answers in a browser.
// It protects users of browsers; it is no access control, which API keys are.

/** Request headers that a page may send besides those that every page may. */
const ALLOWED_HEADERS =
  'Authorization, Content-Type, Accept, X-Request-Id, X-Request-Timeout-Ms, traceparent, ' +
  'Inference-Header-Content-Length';
/** Headers of answers that a page may read besides those that every page may. */
const EXPOSED_HEADERS =
  'X-Request-Id, Retry-After, Server-Timing, traceparent, Inference-Header-Content-Length';
/** How long a browser may keep the answer to a preflight request. Browsers cap it at two hours. */
const MAX_AGE_SECONDS = '7200';

export class Cors {
  /** Undefined means that every origin is allowed. */
  readonly #origins: ReadonlySet<string> | undefined;

  /** @param origins - the setting corsOrigins: origins separated by commas, or "*". */
  constructor(origins: string) {
    if (origins !== '*') this.#origins = new Set(origins.split(',').map((origin) => origin.trim()));
  }

  /**
   * Adds the headers that every answer needs, errors included.
   *
   * @param headers - of the answer; changed.
   * @param origin - the header Origin of the request, empty when it has none.
   * @returns whether a page of this origin may read the answer.
   */
  addTo(headers: Record<string, string>, origin: string): boolean {
    // A cache must not give the answer for one origin to another.
    if (this.#origins !== undefined) headers['Vary'] = 'Origin';
    if (origin === '' || this.#origins?.has(origin) === false) return false;
    headers['Access-Control-Allow-Origin'] = this.#origins === undefined ? '*' : origin;
    headers['Access-Control-Expose-Headers'] = EXPOSED_HEADERS;
    return true;
  }

  /**
   * Adds what the answer to a preflight request needs in addition.
   *
   * @param methods - the methods of the path, separated by commas.
   */
  addPreflight(headers: Record<string, string>, methods: string): void {
    headers['Access-Control-Allow-Methods'] = methods;
    headers['Access-Control-Allow-Headers'] = ALLOWED_HEADERS;
    headers['Access-Control-Max-Age'] = MAX_AGE_SECONDS;
  }
}
