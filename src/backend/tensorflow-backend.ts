// The `tensorflow` backend: tfjs's binding (@tensorflow/tfjs-node-gpu) to libtensorflow, on a CPU
// or with CUDA. tools/setup-tensorflow.mjs installs the library from a Python wheel.

import { join } from 'node:path';
import * as util from 'node:util';
import { TandemError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
import { optionalPackage } from './optional-package.ts';
import { tf } from './tf.ts';

const PACKAGE = '@tensorflow/tfjs-node-gpu';

/** The part of its NodeJSKernelBackend that we read. */
interface NodeBackend {
  readonly isUsingGpuDevice: boolean;
}

/**
 * Registers the backend, once.
 *
 * @returns a description of what it computes on.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE.
 */
export async function registerTensorflowBackend(): Promise<string> {
  if (!('isNullOrUndefined' in util))
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      `Expected Node 20 or 22 for the tensorflow backend, received ${process.version}: ` +
        `Node 23 removed util.isNullOrUndefined, which ${PACKAGE} calls. ` +
        'Run Node 22, or choose another --backend.',
    );
  // Hides its banner about instruction sets; TF_CPP_MIN_LOG_LEVEL=0 shows it.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
  const before = tf.engine().backendName;
  const setup = join(packageRoot(), 'tools', 'setup-tensorflow.mjs');
  await optionalPackage(
    PACKAGE,
    `Install and set it up: npm install ${PACKAGE}@4.22.0 && node ${setup}, with --gpu for CUDA`,
  );
  const backend: unknown = tf.findBackend('tensorflow');
  // Loading the package makes its backend the current one.
  if (before) await tf.setBackend(before);
  return (backend as NodeBackend).isUsingGpuDevice
    ? 'libtensorflow with CUDA'
    : 'libtensorflow on the CPU';
}
