// A file system of a few megabytes in memory that can be filled to the last byte. It needs the
// right to mount: root, or sudo without a password.

import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LeftOut } from './row.ts';

const BLOCK_BYTES = 65_536;

export class SmallDisk {
  readonly path: string;
  readonly #ballast: string;

  /**
   * @param path - of the mount point, which is created.
   * @throws LeftOut without the right to mount.
   */
  constructor(path: string, mebibytes: number) {
    this.path = path;
    this.#ballast = join(path, 'ballast');
    mkdirSync(path);
    asRoot(['mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0777`, 'tmpfs', path]);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Fills the disk until `leaveBytes` are free. */
  fill(leaveBytes: number): void {
    const file = openSync(this.#ballast, 'a');
    const block = Buffer.alloc(BLOCK_BYTES);
    try {
      for (let left = this.freeBytes - leaveBytes; left > 0; left -= BLOCK_BYTES)
        writeSync(file, block, 0, Math.min(left, BLOCK_BYTES));
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#ballast, { force: true });
  }

  unmount(): void {
    asRoot(['umount', '-l', this.path]);
  }
}

function asRoot(command: readonly string[]): void {
  let reason = '';
  for (const [tool, ...rest] of [command, ['sudo', '-n', ...command]]) {
    const { status, stderr, error } = spawnSync(tool!, rest, { encoding: 'utf8' });
    if (status === 0) return;
    reason ||= error?.message ?? stderr.trim();
  }
  throw new LeftOut(`Expected the right to "${command.join(' ')}": ${reason}. Run as root.`);
}
