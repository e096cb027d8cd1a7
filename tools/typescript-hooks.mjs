// The loader hook of typescript.mjs. It keeps the text without types in build/stripped/, under the
// digest of the source, so each version of a file is parsed once.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = join(import.meta.dirname, '..', 'build', 'stripped');
const require = createRequire(import.meta.url);

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context);
  const path = fileURLToPath(url);
  const source = readFileSync(path);
  const cached = join(CACHE, `${createHash('sha1').update(source).digest('hex')}.js`);
  return {
    format: 'module',
    source: read(cached) ?? strip(path, source, cached),
    shortCircuit: true,
  };
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Removes the types and stores the result, complete at once: other processes read it. */
function strip(path, source, cached) {
  let code;
  try {
    ({ code } = require('amaro').transformSync(source.toString(), { mode: 'strip-only' }));
  } catch (error) {
    throw new SyntaxError(
      `Expected TypeScript with types that can be removed in ${path}: ${error.message ?? error}`,
      { cause: error },
    );
  }
  mkdirSync(CACHE, { recursive: true });
  const temporary = `${cached}.${process.pid}`;
  writeFileSync(temporary, code);
  renameSync(temporary, cached);
  return code;
}
