// tandem inspect: the manifest of a bundle. It reads no other file, so it is fast and verifies
// nothing.

import { Command } from 'commander';
import { bundleBytes, readManifest } from '../bundle/files.ts';
import { resolveBundle } from '../bundle/current.ts';
import { maxStateRows, type BundleManifest } from '../bundle/manifest.ts';

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('print the ids, sizes, counts and files of a bundle, without verifying it')
    .argument('<bundle>', 'directory of a bundle, or of bundles with a current one')
    .option('--json', 'print the manifest as JSON')
    .action(async (path: string, options: { json?: boolean }) => {
      const directory = resolveBundle(path);
      const manifest = await readManifest(directory);
      const text = options.json
        ? `${JSON.stringify({ directory, ...manifest }, null, 2)}\n`
        : describeManifest(directory, manifest);
      process.stdout.write(text);
    });
}

/** The manifest as aligned lines of text. */
export function describeManifest(directory: string, manifest: BundleManifest): string {
  const { model, counts, index } = manifest;
  const rows: [string, string][] = [
    ['directory', directory],
    ['bundleId', manifest.bundleId],
    ['encoderId', manifest.encoderId],
    ['headId', manifest.headId],
    ['itemTowerId', manifest.itemTowerId],
    ['indexId', manifest.indexId],
    ['schemaHash', manifest.schemaHash],
    ['dataset', `${manifest.datasetName} (${manifest.datasetDigest.slice(0, 16)})`],
    ['data until', isoSeconds(manifest.dataUntilSeconds)],
    ['items', `${counts.items} in ${counts.categories} categories`],
    ['fusion', model.fusion],
    ['embedding', `width ${model.embeddingWidth}, ${manifest.metric}`],
    ['states', `up to ${maxStateRows(model)} rows of ${manifest.stateType}`],
    [
      'encoder',
      `${model.blocks} blocks, ${model.heads} heads, feed-forward ${model.feedForwardWidth}, ` +
        `history ${model.maxHistory}, action ${model.actionWidth}`,
    ],
    [
      'head',
      `hidden ${model.hiddenWidth}, context ${model.contextWidth}, ` +
        `subject ${model.subjectWidth}, demographic ${model.demographicWidth}`,
    ],
    [
      'index',
      Object.entries(index)
        .map(([name, value]) => (name === 'kind' ? String(value) : `${name} ${value}`))
        .join(', '),
    ],
    ['size', `${bundleBytes(manifest)} bytes`],
    ...Object.entries(manifest.files).map(([name, { bytes, sha256 }]): [string, string] => [
      name,
      `${bytes} bytes, sha256 ${sha256}`,
    ]),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}\n`).join('');
}

function isoSeconds(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s` : date.toISOString();
}
