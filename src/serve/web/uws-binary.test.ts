import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TandemError } from '../../errors.ts';
import { chooseTransport, noNativeUws } from './choose-transport.ts';
import { findUws, type BinaryTarget } from './uws-binary.ts';
import { UWS_DIGESTS } from './uws-digests.ts';

const own = { platform: process.platform, arch: process.arch, abi: process.versions.modules };
const nameOf = ({ platform, arch, abi }: BinaryTarget): string =>
  `uws_${platform}_${arch}_${abi}.node`;

describe('findUws', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tandem-uws-'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  /** An installation with these files in node_modules, by path, and their contents. */
  function install(name: string, files: Record<string, string | undefined>): NodeJS.Require {
    const root = join(folder, name);
    for (const [path, source] of Object.entries(files)) {
      const file = join(root, 'node_modules', path);
      mkdirSync(dirname(file), { recursive: true });
      if (source === undefined) writeFileSync(file, path.endsWith('.json') ? '{}' : 'no binary');
      else copyFileSync(source, file);
    }
    mkdirSync(root, { recursive: true });
    return createRequire(join(root, 'program.js'));
  }

  it('says that no package is installed', () => {
    const found = findUws(own, install('empty', {}));
    assert.ok(found.uws === undefined);
    assert.match(found.reason, /^uwebsockets: not installed; tandem-.*: not installed; uWebSoc/);
  });

  it('says that an installed package has no file for this Node', () => {
    const target = { ...own, abi: '99' };
    const found = findUws(target, install('other-abi', { 'uwebsockets/package.json': undefined }));
    assert.ok(found.uws === undefined);
    assert.match(found.reason, new RegExp(`^uwebsockets: no file ${nameOf(target)};`));
  });

  it('refuses a file with an unknown digest', () => {
    const files = {
      'uwebsockets/package.json': undefined,
      [`uwebsockets/${nameOf(own)}`]: undefined,
    };
    const found = findUws(own, install('changed', files));
    assert.ok(found.uws === undefined);
    assert.match(found.reason, /is not a known build, its SHA-256 is [0-9a-f]{64};/);
  });

  it('loads the binary of the platform package', (t) => {
    const installed = findUws();
    if (installed.uws === undefined) {
      t.skip(installed.reason);
      return;
    }
    const packageName = `tandem-${own.platform}-${own.arch}-gnu`;
    const files = {
      [`${packageName}/package.json`]: undefined,
      [`${packageName}/uws/${nameOf(own)}`]: installed.path,
    };
    const found = findUws(own, install('platform', files));
    assert.ok(found.uws !== undefined);
    assert.ok(found.path.includes(packageName));
  });

  it('knows builds of Node 20, 22 and 24 on Linux, each once', () => {
    for (const arch of ['x64', 'arm64'])
      for (const abi of ['115', '127', '137'])
        assert.ok(`linux_${arch}_${abi}` in UWS_DIGESTS, `${arch} ${abi}`);
    const digests = Object.values(UWS_DIGESTS).flat();
    assert.equal(new Set(digests).size, digests.length);
    for (const digest of digests) assert.match(digest, /^[0-9a-f]{64}$/);
  });
});

describe('chooseTransport', () => {
  it('takes uWebSockets where its native build loads, and says why', () => {
    const found = findUws();
    const { name, reason } = chooseTransport('auto');
    assert.equal(name, found.uws === undefined ? 'node' : 'uws');
    assert.match(reason, found.uws === undefined ? /^no native build .* loads/ : /loads on this/);
    if (found.uws === undefined) assert.ok(reason.includes(found.reason));
  });

  it('obeys the setting', () => {
    assert.deepEqual(chooseTransport('node').name, 'node');
    const error = noNativeUws('uwebsockets: not installed');
    assert.ok(error instanceof TandemError);
    assert.equal(error.code, 'ERR_NATIVE_UNAVAILABLE');
    assert.match(error.message, /none loads: uwebsockets: not installed\. Choose .*--transport/);
    if (findUws().uws === undefined) {
      assert.throws(() => chooseTransport('uws'), { code: 'ERR_NATIVE_UNAVAILABLE' });
    } else assert.equal(chooseTransport('uws').name, 'uws');
  });
});
