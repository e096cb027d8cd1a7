// Ends the process with the remedy when a tool of the native build is missing.
import { spawnSync } from 'node:child_process';

/** Whether `tool` is not installed. */
export const lacks = (tool) => spawnSync(tool, ['--version']).error !== undefined;

/**
 * @param tools - names of the programs that must be installed.
 * @param purpose - what needs them, for the message.
 */
export function requireTools(tools, purpose) {
  const missing = tools.filter(lacks);
  if (missing.length === 0) return;
  console.error(
    `Expected cmake and a C++17 compiler ${purpose}, missing: ${missing.join(', ')}. ` +
      'Install them, on Debian with "apt-get install cmake g++", ' +
      'on macOS with "brew install cmake" and "xcode-select --install".',
  );
  process.exit(1);
}
