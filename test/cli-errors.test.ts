// A wrong command line exits with code 1 and one message: what was expected, what was received,
// what to do.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ERROR_TABLE } from '../src/errors.ts';
import { runCli } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-cli-'));
const at = (name: string): string => join(folder, name);
after(() => {
  rmSync(folder, { recursive: true });
});

writeFileSync(at('events.csv'), 'who,what\na,b\n');
const source = (columns: object): string =>
  JSON.stringify({ name: 'x', events: { file: 'events.csv', columns } });
writeFileSync(at('column.json'), source({ user: 'who', item: 'wat' }));
writeFileSync(at('field.json'), source({ user: 'who', item: 'what', itm: 'what' }));
writeFileSync(at('broken.json'), '{');

writeFileSync(at('experiment.json'), JSON.stringify({ about: '', datset: {} }));

interface Case {
  readonly args: readonly string[];
  readonly code: keyof typeof ERROR_TABLE;
  readonly says: readonly RegExp[];
  readonly env?: Readonly<Record<string, string>>;
}

const CASES: Readonly<Record<string, Case>> = {
  'serve with a directory without bundles': {
    args: ['serve', '--bundles', at('nothing'), '--store', at('store')],
    code: 'ERR_BUNDLE_NOT_FOUND',
    says: [/nothing/],
  },
  'train on a dataset that does not exist': {
    args: ['train', '--data', at('nothing'), '--out', at('run')],
    code: 'ERR_DATASET_NOT_FOUND',
    says: [/nothing/, /tandem import/],
  },
  'train --head-only without a run to start from': {
    args: ['train', '--data', at('nothing'), '--out', at('run'), '--head-only'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/--warm-start <directory>/],
  },
  'train from a run that does not exist': {
    args: ['train', '--data', at('nothing'), '--out', at('run'), '--warm-start', at('old')],
    code: 'ERR_CHECKPOINT_INVALID',
    says: [/old/, /tandem train/],
  },
  'publish from a run that does not exist': {
    args: ['publish', '--checkpoint', at('nothing'), '--bundles', at('bundles')],
    code: 'ERR_CHECKPOINT_INVALID',
    says: [/nothing/, /tandem train/],
  },
  'encode items of a run that does not exist': {
    args: ['encode', 'items', '--checkpoint', at('nothing')],
    code: 'ERR_CHECKPOINT_INVALID',
    says: [/nothing/],
  },
  'verify of a directory that is not a bundle': {
    args: ['verify', folder],
    code: 'ERR_BUNDLE_NOT_FOUND',
    says: [/manifest\.json/],
  },
  'import of a column that the file does not have': {
    args: ['import', '--manifest', at('column.json'), '--out', at('dataset')],
    code: 'ERR_DATASET_INVALID',
    says: [/"wat"/, /what/],
  },
  'import with an unknown field in the manifest': {
    args: ['import', '--manifest', at('field.json'), '--out', at('dataset')],
    code: 'ERR_DATASET_INVALID',
    says: [/itm/, /item/],
  },
  'import with a manifest that is not JSON': {
    args: ['import', '--manifest', at('broken.json'), '--out', at('dataset')],
    code: 'ERR_DATASET_INVALID',
    says: [/broken\.json/],
  },
  'experiment with a file that does not exist': {
    args: ['experiment', at('nothing.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/nothing\.json/],
  },
  'experiment with a misspelled field': {
    args: ['experiment', at('experiment.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/experiment\.json/, /docs\/explanation\/evaluation\.md/],
  },
  'survival on a dataset that does not exist': {
    args: ['survival', '--data', at('nothing'), '--out', at('report')],
    code: 'ERR_DATASET_NOT_FOUND',
    says: [/nothing/],
  },
  'survival with zero candidates': {
    args: ['survival', '--data', 'x', '--out', 'y', '--candidates', '0'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/--candidates/, /received "0"/],
  },
  'a misspelled flag': {
    args: ['serve', '--bundels', 'x'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/received --bundels/, /--bundles/],
  },
  'a missing flag': {
    args: ['train', '--data', 'x'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/--out <directory>, received none/],
  },
  'a value that the flag does not allow': {
    args: ['train', '--data', 'x', '--out', 'y', '--fusion', 'sum'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/received "sum"/, /none, concat/],
  },
  'a command that does not exist': {
    args: ['toString'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/received "toString"/],
  },
  'a rollback where no bundle is current': {
    args: ['rollback', '--bundles', at('nothing')],
    code: 'ERR_BUNDLE_NOT_FOUND',
    says: [/nothing/],
  },
  'publish with --keep below what a rollback needs': {
    args: ['publish', '--checkpoint', at('nothing'), '--bundles', at('bundles'), '--keep', '2'],
    code: 'ERR_INVALID_ARGUMENT',
    says: [/from 3/],
  },
  'a setting of the wrong type': {
    args: ['serve', '--bundles', 'x', '--store', 'y'],
    env: { TANDEM_PORT: 'http' },
    code: 'ERR_CONFIG_INVALID',
    says: [/TANDEM_PORT/, /received "http"/],
  },
};

describe('a wrong command line', () => {
  for (const [name, { args, code, says, env }] of Object.entries(CASES))
    it(`is rejected with a remedy: ${name}`, async () => {
      const { code: exit, stdout, stderr } = await runCli(args, env && { env });
      assert.equal(exit, 1, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, new RegExp(`^${code}: Expected .*(received|found|but|:) `, 'm'));
      assert.doesNotMatch(stderr, /^\s+at /m);
      for (const part of says) assert.match(stderr, part);
    });

  it('leaves no files behind', () => {
    assert.deepEqual(readdirSync(folder).sort(), [
      'broken.json',
      'column.json',
      'events.csv',
      'experiment.json',
      'field.json',
    ]);
  });
});

describe('a correct command line', () => {
  it('prints every setting with its source (tandem config print)', async () => {
    const args = ['config', 'print', '--bundles', 'x', '--store', 'y'];
    const { code, stdout } = await runCli(args, { env: { TANDEM_PORT: '99' } });
    assert.equal(code, 0);
    for (const line of [
      /^bundles +flag +x$/m,
      /^port +environment +99$/m,
      /^plan +default +auto$/m,
    ])
      assert.match(stdout, line);
  });

  it('prints help and version on standard output and exits with code 0', async () => {
    for (const args of [['--version'], ['serve', '--help']]) {
      const { code, stdout, stderr } = await runCli(args);
      assert.deepEqual([code, stderr], [0, '']);
      assert.notEqual(stdout, '');
    }
  });
});
