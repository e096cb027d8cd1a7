// The OpenAPI 3.1 document: operations from the table of routes, schemas of bodies from the zod
// schemas that validate them.

import { jsonSchemas } from '../request/json-schemas.ts';
import { KSERVE_SCHEMAS } from './kserve/kserve-schemas.ts';
import type { Route } from './routes/route.ts';
import { ROUTES } from './routes/routes.ts';

/** @param version - of the package. */
export function openApiDocument(version: string): Record<string, unknown> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tandem',
      version,
      description: 'Candidates for a user and what the user is looking at now.',
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
          description: 'A key of `tandem keys add`; a server without a key file needs none.',
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

/** A server without keys needs none, hence the empty alternative. */
function securityOf(role: Route['role']): object[] {
  return role === 'open' ? [] : [{ apiKey: [role] }, {}];
}
