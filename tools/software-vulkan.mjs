// A Vulkan device in software, so that the webgpu backend is tested where there is no GPU: SwiftShader and a Vulkan loader out of
// Debian's package chromium-common, unpacked into build/ and not installed. What has a Vulkan driver of its own needs none of this.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const build = join(import.meta.dirname, '..', 'build');
const folder = join(build, 'swiftshader');
const PACKAGE = 'chromium-common';
const FILES = ['libvk_swiftshader.so', 'vk_swiftshader_icd.json', 'libvulkan.so.1'];

/**
 * Environment of a process that shall find the device.
 *
 * @returns without `env`, a `reason` why there is none.
 */
export function softwareVulkan() {
  if (process.platform !== 'linux') return { reason: `no SwiftShader for ${process.platform}` };
  if (!FILES.every((file) => existsSync(join(folder, file)))) {
    const reason = unpack();
    if (reason !== undefined) return { reason };
  }
  return {
    env: { VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: folder },
  };
}

/** @returns why it failed. */
function unpack() {
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const run = (command, ...args) =>
    spawnSync(command, args, { cwd: partial, stdio: 'ignore', maxBuffer: Infinity }).status === 0;
  const download = () => run('apt-get', 'download', PACKAGE);
  // A new machine has no lists of packages yet.
  if (!download() && !(run('apt-get', 'update') && download()))
    return `"apt-get download ${PACKAGE}" does not work here`;
  const [archive] = readdirSync(partial);
  if (!run('dpkg-deb', '--extract', archive, 'all')) return `dpkg-deb cannot read ${archive}`;
  const unpacked = join(partial, 'all', 'usr', 'lib', 'chromium');
  const missing = FILES.filter((file) => !existsSync(join(unpacked, file)));
  if (missing.length > 0) return `${archive} has no ${missing.join(', ')}`;
  rmSync(folder, { recursive: true, force: true });
  renameSync(unpacked, folder);
  rmSync(partial, { recursive: true });
  writeFileSync(join(folder, 'ORIGIN'), `${archive}\n`);
  return undefined;
}
