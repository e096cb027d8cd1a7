// The `webgpu` backend: tfjs's WebGPU kernels on Dawn (npm package webgpu), which reaches the GPUs
// of any vendor through Vulkan, Metal or Direct3D 12. Its memory can be read only asynchronously.

import type { KernelBackend } from 'tandem-offline/tfjs';
import { TandemError } from '../errors.ts';
import { optionalPackage } from './optional-package.ts';
import { tf } from './tf.ts';

const REMEDY = 'Install both: npm install webgpu@0.6.2 @tensorflow/tfjs-backend-webgpu@4.22.0';

/** The part of WebGPU that we use; its types ship with browsers only. */
interface Adapter {
  readonly info: {
    readonly vendor: string;
    readonly architecture: string;
    readonly description: string;
  };
  readonly limits: Readonly<Record<string, number>>;
  requestDevice(descriptor: {
    readonly requiredLimits: Readonly<Record<string, number>>;
  }): Promise<unknown>;
}
interface Gpu {
  requestAdapter(options: { readonly powerPreference: string }): Promise<Adapter | null>;
}
interface Dawn {
  readonly create: (flags: readonly string[]) => Gpu;
  readonly globals: object;
}
interface TfjsWebgpu {
  readonly WebGPUBackend: new (device: unknown, info: Adapter['info']) => KernelBackend;
}

/**
 * Limits that tfjs's kernels use. WebGPU grants a limit only on request; the defaults are the
 * minimum that every device has.
 */
const LIMITS = [
  'maxBufferSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
];

let registered: Promise<string> | undefined;

/**
 * Registers the backend, once.
 *
 * @returns a description of what it computes on.
 * @throws TandemError ERR_BACKEND_UNAVAILABLE.
 */
export function registerWebgpuBackend(): Promise<string> {
  registered ??= register();
  return registered;
}

async function register(): Promise<string> {
  const dawn = (await optionalPackage('webgpu', REMEDY)) as Dawn;
  const gpu = dawn.create([]);
  // The kernels read constants (GPUBufferUsage) from the global scope, and look for navigator.gpu
  // when they are loaded.
  Object.assign(globalThis, dawn.globals);
  const scope = globalThis as { navigator?: object };
  scope.navigator ??= {};
  Object.defineProperty(scope.navigator, 'gpu', { value: gpu, configurable: true });
  const { WebGPUBackend } = (await optionalPackage(
    '@tensorflow/tfjs-backend-webgpu',
    REMEDY,
  )) as TfjsWebgpu;
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null)
    throw new TandemError(
      'ERR_BACKEND_UNAVAILABLE',
      'Expected a GPU for the webgpu backend, but Dawn found no adapter. ' +
        'Install the driver of the GPU and, on Linux, the Vulkan loader (Debian: libvulkan1). ' +
        'To test in software, name the ICD of SwiftShader in VK_ICD_FILENAMES (docs/backends.md).',
    );
  const { info, limits } = adapter;
  const device = await adapter.requestDevice({
    requiredLimits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]!])),
  });
  // Replaces the factory of the package, which requests a feature as an array.
  tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, info), 3);
  return `${info.vendor} ${info.architecture} ${info.description}`.trim();
}
