// Canonical JSON, digests, and the first difference of two JSON values. The same value always gives
// the same bytes, so ids derived from it are stable.

import { createHash } from 'node:crypto';

/** JSON with sorted object keys and no white space. Undefined members are left out. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => {
    if (member === null || typeof member !== 'object' || Array.isArray(member)) return member;
    return Object.fromEntries(
      Object.entries(member).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
    );
  });
}

/** SHA-256 of the concatenated parts, as lower-case hex. */
export function sha256Hex(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** Maximum number of characters of a value that a message shows. */
const SHOWN_CHARACTERS = 80;

/**
 * Describes the first difference of two JSON values in the order of canonicalJson(), for messages
 * such as `model.blocks: found 2, wanted 3`.
 *
 * @returns undefined when the values are equal.
 */
export function firstDifference(found: unknown, wanted: unknown, path = ''): string | undefined {
  if (canonicalJson(found) === canonicalJson(wanted)) return undefined;
  if (isContainer(found) && isContainer(wanted) && Array.isArray(found) === Array.isArray(wanted)) {
    const [a, b] = [found as Record<string, unknown>, wanted as Record<string, unknown>];
    const keys = Object.keys({ ...a, ...b });
    for (const key of Array.isArray(found) ? keys : keys.sort()) {
      const difference = firstDifference(a[key], b[key], path === '' ? key : `${path}.${key}`);
      if (difference !== undefined) return difference;
    }
  }
  return `${path === '' ? '' : `${path}: `}found ${shown(found)}, wanted ${shown(wanted)}`;
}

function isContainer(value: unknown): value is object {
  return value !== null && typeof value === 'object';
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = canonicalJson(value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
