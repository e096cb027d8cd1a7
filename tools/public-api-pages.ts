// The generated parts of docs/reference/api.md (a list of the public API, with the examples) and of
// docs/reference/api-declarations.md (every declaration).

import { readFileSync } from 'node:fs';
import { readPublicApi, type PublicExport } from './public-api.ts';

const EXAMPLES: Readonly<Record<string, string>> = {
  'embed.mjs': 'Candidates in process',
  'embed-jobs.mjs': 'All jobs, from data to candidates',
};

/** The examples, then classes and functions with their first sentence, and the names of types. */
export function describeApi(): string {
  return [...Object.entries(EXAMPLES).map(showExample), ...sections(describeSection)].join('\n\n');
}

/** Every declaration with its doc comment. */
export function declareApi(): string {
  return sections((entries) => {
    const code = entries.map(({ declaration }) => declaration.replace(/\bdeclare /, ''));
    return `\`\`\`ts\n${code.join('\n\n')}\n\`\`\``;
  }).join('\n\n');
}

function sections(write: (entries: readonly PublicExport[]) => string): string[] {
  const byHeading = new Map<string, PublicExport[]>();
  for (const entry of readPublicApi()) {
    const entries = byHeading.get(entry.heading);
    if (entries === undefined) byHeading.set(entry.heading, [entry]);
    else entries.push(entry);
  }
  return [...byHeading].map(([heading, entries]) => `## ${heading}\n\n${write(entries)}`);
}

function showExample([file, title]: [string, string]): string {
  const code = readFileSync(new URL(`../examples/${file}`, import.meta.url), 'utf8');
  return (
    `## Example: ${title[0]!.toLowerCase()}${title.slice(1)}\n\n` +
    `[examples/${file}](../../examples/${file}), which the tests run:\n\n\`\`\`js\n${code}\`\`\``
  );
}

function describeSection(entries: readonly PublicExport[]): string {
  const isType = ({ kind }: PublicExport): boolean => kind === 'interface' || kind === 'type';
  const lines = entries
    .filter((entry) => !isType(entry))
    .map(({ name, kind, summary }) => {
      const shown = kind === 'function' ? `${name}()` : `class ${name}`;
      return `- \`${shown}\`: ${firstSentence(summary)}`;
    });
  const types = entries.filter(isType).map(({ name }) => `\`${name}\``);
  return `${lines.join('\n')}\n\nTypes: ${types.join(', ')}.`;
}

function firstSentence(text: string): string {
  return /^.*?[.](?= [A-Z]|$)/.exec(text)?.[0] ?? text;
}
