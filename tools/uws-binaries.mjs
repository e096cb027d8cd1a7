// The native builds of uWebSockets that go into a platform package. They come from two packages of
// npm that are too large for a server (113 and 269 MB), and are the builds whose digests the server
// knows: src/serve/web/uws-digests.ts.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from './native-headers.mjs';

/**
 * Copies the binaries for this platform and their licence.
 *
 * @param digests - SHA-256 by platform, architecture and ABI, as in `linux_x64_115`.
 * @param version - of the package uwebsockets.
 * @param cache - folder that keeps the downloaded package.
 * @param target - folder to write.
 */
export function copyUwsBinaries({ digests, version, cache, target }) {
  const prefix = `${process.platform}_${process.arch}_`;
  const alias = join(packageFolder('uWebSockets.js'), 'binaries');
  const downloaded = download(version, cache, `uws_${prefix}*.node`);
  mkdirSync(target, { recursive: true });
  for (const key of Object.keys(digests).filter((name) => name.startsWith(prefix))) {
    const file = `uws_${key}.node`;
    // For the ABI that both packages have, the build of the alias runs with an older glibc.
    const source = [alias, downloaded]
      .map((folder) => join(folder, file))
      .find((path) => existsSync(path));
    if (source === undefined)
      throw new Error(`Expected ${file} in ${alias} or ${downloaded}, found none.`);
    const digest = createHash('sha256').update(readFileSync(source)).digest('hex');
    if (!digests[key].includes(digest))
      throw new Error(
        `Expected ${source} to have one of the SHA-256 digests ${digests[key].join(', ')} of ` +
          `src/serve/web/uws-digests.ts, received ${digest}.`,
      );
    copyFileSync(source, join(target, file));
  }
  copyFileSync(join(downloaded, 'LICENSE'), join(target, 'LICENSE'));
}

/** @returns the folder with the files of `pattern` and the licence of package uwebsockets. */
function download(version, cache, pattern) {
  const archive = `uwebsockets-${version}.tgz`;
  mkdirSync(cache, { recursive: true });
  if (!existsSync(join(cache, archive)))
    run(
      'npm',
      ['pack', `uwebsockets@${version}`, '--prefer-offline', '--silent', '--pack-destination', '.'],
      cache,
    );
  run('tar', ['-xzf', archive, '--wildcards', `package/${pattern}`, 'package/LICENSE'], cache);
  return join(cache, 'package');
}

function run(command, args, cwd) {
  const { status, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0)
    throw new Error(`Expected "${command} ${args.join(' ')}" to succeed, but: ${stderr}`);
}
