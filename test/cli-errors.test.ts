// A wrong command line exits with code 1 and one message: what was expected, what was received,
// what to do.

import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ERROR_TABLE } from '../src/errors.ts';
import { packageRoot } from '../src/package-root.ts';
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

mkdirSync(at('folder'));
writeFileSync(at('file'), 'text');
writeFileSync(at('empty.json'), '');
writeFileSync(at('list.json'), '[]');
writeFileSync(at('cut.json'), '{"port": 8080,\n "host": "127.0.0.1",\n');
writeFileSync(at('typed.json'), '{"adminPort": {"port": 1}}');
writeFileSync(at('keys.json'), '{"keys": [{"id": 1}]}');
writeFileSync(at('batch.json'), '{"seed": "many"}');
// A bundle and a run whose files were cut, and a store that another program wrote.
cpSync(join(packageRoot(), 'models', 'tiny'), at('bundle'), { recursive: true });
cpSync(at('bundle'), at('truncated'), { recursive: true });
truncateSync(join(at('truncated'), 'weights.safetensors'), 1000);
mkdirSync(join(at('run'), 'final'), { recursive: true });
writeFileSync(join(at('run'), 'run.json'), '{"version": 3,');
writeFileSync(join(at('run'), 'final', 'result.json'), '{}');
mkdirSync(at('garbage'));
writeFileSync(join(at('garbage'), 'data.mdb'), 'x'.repeat(8192));

writeFileSync(at('experiment.json'), JSON.stringify({ about: '', datset: {} }));

/** A command line that serves the sound bundle, up to the flag that is wrong. */
const SERVE = ['serve', '--bundles', at('bundle'), '--store', at('store'), '--port', '0'];

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
  'serve with a file for the directory of bundles': {
    args: ['serve', '--bundles', at('file'), '--store', at('store')],
    code: 'ERR_BUNDLE_NOT_FOUND',
    says: [/file and not a directory \(ENOTDIR\)/],
  },
  'serve with a truncated bundle': {
    args: ['serve', '--bundles', at('truncated'), '--store', at('store')],
    code: 'ERR_BUNDLE_INVALID',
    says: [/weights\.safetensors/, /publish it again/],
  },
  'serve with a file for the store': {
    args: ['serve', '--bundles', at('bundle'), '--store', at('file')],
    code: 'ERR_STORE_UNAVAILABLE',
    says: [/name a directory/],
  },
  'serve with a store that does not exist': {
    args: ['serve', '--bundles', at('bundle'), '--store', at('nothing')],
    code: 'ERR_STORE_UNAVAILABLE',
    says: [/nothing/, /tandem encode users/],
  },
  'serve with a store of another program': {
    args: ['serve', '--bundles', at('bundle'), '--store', at('garbage')],
    code: 'ERR_STORE_UNAVAILABLE',
    says: [/data\.mdb/, /not a store of this version/],
  },
  'items of a Redis that does not run': {
    args: ['items', '--store', 'redis://127.0.0.1:1/0'],
    code: 'ERR_STORE_UNAVAILABLE',
    says: [/ECONNREFUSED/, /Check that Redis runs/],
  },
  'settings that do not exist': {
    args: ['config', 'print', '--config', at('nothing.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/nothing\.json/, /no such file or directory \(ENOENT\)/, /--config/],
  },
  'settings in a directory': {
    args: ['config', 'print', '--config', at('folder')],
    code: 'ERR_CONFIG_INVALID',
    says: [/a directory, not a file \(EISDIR\)/],
  },
  'settings with a syntax error': {
    args: ['config', 'print', '--config', at('cut.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/cut\.json/, /line 3, column 1/],
  },
  'settings in an empty file': {
    args: ['config', 'print', '--config', at('empty.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/it is empty/],
  },
  'settings that are a list': {
    args: ['config', 'print', '--config', at('list.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/received an array/],
  },
  'a setting with a value of none of its types': {
    args: ['config', 'print', '--bundles', 'x', '--store', 'y', '--config', at('typed.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/adminPort/, /Expected one of "off", or number, received object/],
  },
  'a directory for the access log': {
    args: [...SERVE, '--access-log', at('folder')],
    code: 'ERR_CONFIG_INVALID',
    says: [/accessLog/, /EISDIR/],
  },
  'a file of keys with a wrong field': {
    args: [...SERVE, '--keys', at('keys.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/keys\.0\.id: Expected string, received number/, /tandem keys add/],
  },
  'training settings of the wrong type': {
    args: ['train', '--data', 'x', '--out', at('run2'), '--settings', at('batch.json')],
    code: 'ERR_CONFIG_INVALID',
    says: [/seed: Expected number, received string/],
  },
  'training settings in a directory': {
    args: ['train', '--data', 'x', '--out', at('run2'), '--settings', at('folder')],
    code: 'ERR_CONFIG_INVALID',
    says: [/EISDIR/],
  },
  'publish from a damaged run': {
    args: ['publish', '--checkpoint', at('run'), '--bundles', at('bundles')],
    code: 'ERR_CHECKPOINT_INVALID',
    says: [/run\.json/],
  },
  'import with a directory for the manifest': {
    args: ['import', '--manifest', at('folder'), '--out', at('dataset')],
    code: 'ERR_DATASET_INVALID',
    says: [/EISDIR/],
  },
  'keys in a directory that is a file': {
    args: ['keys', 'add', join(at('file'), 'keys.json'), '--name', 'a', '--role', 'metrics'],
    code: 'ERR_SYSTEM',
    says: [/mkdir .*file/, /\(EEXIST\)/, /Name another path/],
  },
  'a setting of the wrong type': {
    args: ['serve', '--bundles', 'x', '--store', 'y'],
    env: { TANDEM_PORT: 'http' },
    code: 'ERR_CONFIG_INVALID',
    says: [/TANDEM_PORT/, /received "http"/],
  },
};

const before = readdirSync(folder).sort();

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
    assert.deepEqual(readdirSync(folder).sort(), before);
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
