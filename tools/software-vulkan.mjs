// Provides a software Vulkan device, so that tests of the webgpu backend run on machines without a
// GPU. The device is SwiftShader with a Vulkan loader, from Debian's package chromium-common, which
// is unpacked into build/ and not installed. A machine with a Vulkan driver does not need it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const build = join(import.meta.dirname, '..', 'build');
const folder = join(build, 'swiftshader');
const PACKAGE = 'chromium-common';
const FILES = ['libvk_swiftshader.so', 'vk_swiftshader_icd.json', 'libvulkan.so.1'];

/**
 * Finds or unpacks the device.
 *
 * @returns `env`, the environment of a process that uses the device; or `reason`, why there is no
 * device.
 */
export function softwareVulkan() {
  if (process.platform !== 'linux')
    return { reason: `there is no SwiftShader package for ${process.platform}` };
  if (!FILES.every((file) => existsSync(join(folder, file)))) {
    const reason = unpack();
    if (reason !== undefined) return { reason };
  }
  return {
    env: { VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: folder },
  };
}

/** @returns undefined, or the reason of a failure. */
function unpack() {
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const run = (command, ...args) =>
    spawnSync(command, args, { cwd: partial, stdio: 'ignore', maxBuffer: Infinity }).status === 0;
  const download = () => run('apt-get', 'download', PACKAGE);
  // A new machine has no package lists yet.
  if (!download() && !(run('apt-get', 'update') && download()))
    return `"apt-get download ${PACKAGE}" failed`;
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
