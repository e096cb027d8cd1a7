// From the method and path of a request to its row in the table of routes.

import { TandemError, nearestName } from '../../errors.ts';
import type { Route } from './routes/route.ts';

/** Stands for the rest of a path at the end of a pattern. */
const REST = '{id}';
/** The label of paths that no route has, so that clients cannot add label values to metrics. */
const UNKNOWN = 'other';

export class Router {
  /** Routes by path pattern and method. */
  readonly #routes = new Map<string, Map<string, Route>>();
  /** Patterns that end in REST, and what a path of theirs starts with. */
  readonly #prefixes: { readonly prefix: string; readonly pattern: string }[] = [];

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      let methods = this.#routes.get(route.path);
      if (methods === undefined) {
        methods = new Map();
        this.#routes.set(route.path, methods);
        if (route.path.endsWith(REST))
          this.#prefixes.push({ prefix: route.path.slice(0, -REST.length), pattern: route.path });
      }
      methods.set(route.method, route);
    }
  }

  /** Returns the pattern that a path matches, or "other". */
  patternOf(path: string): string {
    if (this.#routes.has(path)) return path;
    for (const { prefix, pattern } of this.#prefixes) if (path.startsWith(prefix)) return pattern;
    return UNKNOWN;
  }

  /**
   * Finds the route of a request. A HEAD request has the route of GET.
   *
   * @param pattern - what patternOf() returned for `path`.
   * @throws TandemError ERR_NOT_FOUND, ERR_METHOD_NOT_ALLOWED.
   */
  routeOf(method: string, path: string, pattern: string): Route {
    const methods = this.#routes.get(pattern);
    if (methods === undefined) throw unknownPath(path, this.#routes.keys());
    const route = methods.get(method === 'HEAD' ? 'GET' : method);
    if (route !== undefined) return route;
    const allowed = [...methods.keys()];
    throw new TandemError(
      'ERR_METHOD_NOT_ALLOWED',
      `Expected ${allowed.join(' or ')} for ${path}, received ${method}.`,
      { details: { allow: allowed.join(', ') } },
    );
  }

  /**
   * Returns the methods of a path, separated by commas, for the header Allow. The path "*" stands
   * for the whole server.
   *
   * @param pattern - what patternOf() returned for `path`.
   * @throws TandemError ERR_NOT_FOUND.
   */
  methodsOf(path: string, pattern: string): string {
    const methods = new Set<string>();
    for (const [route, rows] of this.#routes)
      if (path === '*' || route === pattern) for (const method of rows.keys()) methods.add(method);
    if (methods.size === 0) throw unknownPath(path, this.#routes.keys());
    if (methods.has('GET')) methods.add('HEAD');
    return [...methods, 'OPTIONS'].join(', ');
  }

  /** Whether admission control applies to a request. */
  isAdmitted(method: string, path: string): boolean {
    const route = this.#routes.get(path)?.get(method);
    return route !== undefined && route.admits !== 'none';
  }
}

function unknownPath(path: string, known: Iterable<string>): TandemError {
  const shown = path.slice(0, 128);
  const near = nearestName(shown, known);
  const remedy = near === undefined ? 'GET /openapi.json lists them.' : `Did you mean ${near}?`;
  return new TandemError('ERR_NOT_FOUND', `Expected a known path, received ${shown}. ${remedy}`);
}
