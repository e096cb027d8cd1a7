// Checks a parsed JSON value against a zod schema, and words the error when it does not match.

import { z } from 'zod';
import { TandemError, nearestName } from '../../errors.ts';
import { describeIssue } from '../../foreign-errors.ts';

/** @param field - path of the member that is wrong; null for the request as a whole. */
export function invalid(message: string, field: string | null): TandemError {
  return new TandemError('ERR_INVALID_REQUEST', message, { details: { field } });
}

/**
 * Returns the value as the schema's type.
 *
 * @throws TandemError ERR_INVALID_REQUEST; its details.field is the path of the first wrong member.
 */
export function parseBody<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  // A misspelled member usually causes a second issue about the missing member. The misspelling is
  // the more helpful one.
  const issues = parsed.error.issues;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const given = issue.keys[0]!;
    const known = membersAt(schema, issue.path);
    const near = nearestName(given, known);
    const hint = near === undefined ? `Known: ${known.join(', ')}.` : `Did you mean "${near}"?`;
    const shown = given.slice(0, 64);
    throw invalid(
      `Expected only known fields, received "${shown}". ${hint}`,
      [...path, shown].join('.'),
    );
  }
  const field = path.join('.');
  const where = field || 'the body';
  throw invalid(`${describeIssue(issue)} for ${where}${outcome(issue)}`, field || null);
}

/** What came instead, and what to do about it, if the schema says so. */
function outcome(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'custom' || issue.params === undefined) return '.';
  const { received, remedy } = issue.params as { received: string; remedy: string };
  return `, received ${received}.${remedy === '' ? '' : ` ${remedy}`}`;
}

/** Returns the names of the members of the object schema at `path`. */
function membersAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: z.core.$ZodType = schema;
  const unwrap = (): void => {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault) at = at.unwrap();
  };
  for (const step of path) {
    unwrap();
    if (at instanceof z.ZodObject)
      at = (at.shape as Record<string, z.core.$ZodType>)[String(step)]!;
    else if (at instanceof z.ZodArray) at = at.element;
  }
  unwrap();
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}
