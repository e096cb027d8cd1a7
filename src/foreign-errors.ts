// Words the errors of other parties (the file system, JSON, zod) as ours: what, where, remedy. A
// caller that knows what a file is for says so and adds reasonOf(); translateError() words the
// others for the command line.

import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { ERROR_TABLE, TandemError, type ErrorCode } from './errors.ts';

/** By the code of a system error: what happened, and what to do. */
const SYSTEM_ERRORS: Readonly<Record<string, readonly [reason: string, remedy: string]>> = {
  ENOENT: ['there is no such file or directory', 'Check the path.'],
  EISDIR: ['it is a directory, not a file', 'Name a file.'],
  ENOTDIR: ['it, or a part of its path, is a file and not a directory', 'Name a directory.'],
  EEXIST: ['it is there already', 'Name another path, or remove it.'],
  ENOTEMPTY: ['the directory is not empty', 'Name another path, or remove it.'],
  EACCES: ['this user may not do that', 'Change the owner or the mode, or use another user.'],
  EPERM: ['this user may not do that', 'Change the owner or the mode, or use another user.'],
  EROFS: ['the file system is read-only', 'Name a path on another file system.'],
  ENOSPC: ['the disk is full', 'Free disk space, then run the command again.'],
  EDQUOT: ["this user's disk quota is used up", 'Free disk space, then run the command again.'],
  EMFILE: ['this process has too many open files', 'Raise the limit: "ulimit -n 65536".'],
  ENFILE: ['this machine has too many open files', 'Close other programs.'],
  EIO: ['the disk reports an input/output error', 'Check the disk and the log of the kernel.'],
  ENAMETOOLONG: ['the name is too long', 'Name a shorter path.'],
  ELOOP: ['its symbolic links form a loop', 'Name the real path.'],
  EADDRINUSE: ['another program uses this address', 'Choose another port.'],
  EADDRNOTAVAIL: ['this machine has no such address', 'Choose an address of its own.'],
  ECONNREFUSED: ['nothing listens at this address', 'Check that the other side runs.'],
  EPIPE: ['the reader of the output has gone', 'Keep the reader running.'],
};

/** The reason of an error in a few words of plain English, without a full stop. */
export function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  const known = isSystemError(error) ? SYSTEM_ERRORS[code!] : undefined;
  if (known !== undefined) return `${known[0]} (${code})`;
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}

/**
 * The error to show a person for an error that no caller has worded.
 *
 * @returns undefined for an error that only a defect of this program can cause.
 */
export function translateError(error: unknown): TandemError | undefined {
  if (error instanceof TandemError) return error;
  if (!(error instanceof Error)) return undefined;
  const { code, path, dest, syscall } = error as NodeJS.ErrnoException & { readonly dest?: string };
  // The addon gives its errors codes of our table.
  if (code !== undefined && Object.hasOwn(ERROR_TABLE, code))
    return new TandemError(code as ErrorCode, error.message, { cause: error });
  if (!isSystemError(error)) return undefined;
  const where = [path, dest].filter((name) => name !== undefined).join(' to ');
  const remedy = SYSTEM_ERRORS[code!]?.[1] ?? 'Check the path, its permissions and the disk.';
  return new TandemError(
    'ERR_SYSTEM',
    `Expected the system call ${syscall} to work${where && ` on ${where}`}, ` +
      `but: ${reasonOf(error)}. ${remedy}`,
    { cause: error, details: { path, systemCode: code } },
  );
}

/**
 * Reads a JSON file.
 *
 * @throws Error whose message says where the text stops being JSON; system errors, which reasonOf()
 *   words.
 */
export function readJsonFile(path: string): unknown {
  const text = readFileSync(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (text.trim() === '') throw new Error('it is empty, which is not JSON', { cause });
    throw new Error(`it is not JSON: ${jsonReason(cause as SyntaxError, text)}`, { cause });
  }
}

/** V8's message with line and column; it names a position in characters, or none. */
function jsonReason({ message }: SyntaxError, text: string): string {
  const plain = message.replace(/ in JSON at position \d+.*| \(line \d+ column \d+\)|\.$/gs, '');
  const position = / at position (\d+)/.exec(message)?.[1];
  const end = message.includes('Unexpected end') ? text.length : Number(position);
  if (Number.isNaN(end)) return plain;
  const lines = text.slice(0, end).split('\n');
  return `${plain} at line ${lines.length}, column ${lines.at(-1)!.length + 1}`;
}

/**
 * What a zod schema expected and received, without a full stop: `Expected number, received string`.
 */
export function describeIssue(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'too_small':
      return (
        `Expected ${issue.inclusive === false ? 'more than' : 'at least'} ` +
        `${issue.minimum}${unitOf(issue.origin, issue.minimum)}`
      );
    case 'too_big':
      return (
        `Expected ${issue.inclusive === false ? 'less than' : 'at most'} ` +
        `${issue.maximum}${unitOf(issue.origin, issue.maximum)}`
      );
    case 'invalid_value':
      return `Expected one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'unrecognized_keys':
      return (
        'Expected only known fields, received ' + issue.keys.map((key) => `"${key}"`).join(', ')
      );
    case 'invalid_union': {
      // The alternative whose first issue lies deepest fits best.
      const firsts = issue.errors.flatMap(([first]) => (first === undefined ? [] : [first]));
      const deepest = firsts.sort((a, b) => b.path.length - a.path.length)[0];
      if (deepest === undefined) return 'Expected another value';
      if (deepest.path.length > 0) return `${describeIssue(deepest)} in ${deepest.path.join('.')}`;
      return firsts
        .map(describeIssue)
        .filter((text, i, all) => all.indexOf(text) === i)
        .join(', or ')
        .replace(/, or Expected/g, ', or');
    }
    default:
      return issue.message.replace(/^Invalid input: expected/, 'Expected').replace(/\.$/, '');
  }
}

function unitOf(origin: string, count: number | bigint): string {
  if (origin === 'string') return Number(count) === 1 ? ' character' : ' characters';
  if (origin === 'array') return Number(count) === 1 ? ' entry' : ' entries';
  return '';
}

function isSystemError(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && typeof syscall === 'string';
}
