// The OpenAPI 3.1 document: operations from the table of routes, schemas of bodies from the zod
// schemas that validate them.

import { jsonSchemas } from '../request/json-schemas.ts';
import { KSERVE_SCHEMAS } from './kserve/kserve-schemas.ts';
import type { Route } from './routes/route.ts';
import { ROUTES } from './routes/routes.ts';

/** @param version - version of the package. */
export function openApiDocument(version: string): Record<string, unknown> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tandem',
      version,
      description: 'Returns candidates for a user and for what the user is looking at.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    // The server that this document was read from.
    servers: [{ url: '/' }],
    paths: pathsOf(ROUTES),
    components: {
      schemas: jsonSchemas(KSERVE_SCHEMAS),
      securitySchemes: {
        apiKey: {
          type: 'http',
          scheme: 'bearer',
          description: 'A key of `tandem keys add`. A server without a key file needs no key.',
        },
      },
    },
  };
}

function pathsOf(routes: readonly Route[]): Record<string, Record<string, object>> {
  const paths: Record<string, Record<string, object>> = {};
  for (const { path, method, role, operation } of routes) {
    const { operationId, summary, ...rest } = operation;
    const security = securityOf(role);
    (paths[path] ??= {})[method.toLowerCase()] = { operationId, summary, security, ...rest };
  }
  return paths;
}

/** The empty alternative is for a server without a key file, which needs no key. */
function securityOf(role: Route['role']): object[] {
  return role === 'open' ? [] : [{ apiKey: [role] }, {}];
}
