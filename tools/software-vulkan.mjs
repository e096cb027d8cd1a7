// Provides a software Vulkan device, so that tests of the webgpu backend run on machines without a
// GPU. The device is SwiftShader with a Vulkan loader, from Debian's package chromium-common. A
// machine with a Vulkan driver does not need it.
//
// Usage: node tools/software-vulkan.mjs. It downloads the package with apt-get and unpacks it into
// build/, without installing it. The test runner only uses what is there.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const build = join(import.meta.dirname, '..', 'build');
const folder = join(build, 'swiftshader');
const PACKAGE = 'chromium-common';
const FILES = ['libvk_swiftshader.so', 'vk_swiftshader_icd.json', 'libvulkan.so.1'];

/**
 * Finds the device.
 *
 * @returns `env`, the environment of a process that uses the device; or `reason`, why there is no
 * device.
 */
export function softwareVulkan() {
  if (process.platform !== 'linux')
    return { reason: `there is no SwiftShader package for ${process.platform}` };
  if (!FILES.every((file) => existsSync(join(folder, file))))
    return { reason: '"node tools/software-vulkan.mjs" downloads one' };
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

if (process.argv[1] === import.meta.filename && softwareVulkan().env === undefined) {
  const reason = process.platform === 'linux' ? unpack() : softwareVulkan().reason;
  if (reason !== undefined) {
    console.error(`No software Vulkan device: ${reason}.`);
    process.exit(1);
  }
}
