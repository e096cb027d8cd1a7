// Instruction sets and precisions of the native kernels.

/** Instruction sets with kernels of their own, slowest first. */
export type Isa = 'scalar' | 'avx2' | 'avx512' | 'amx' | 'neon';

/** Operands of dense products: f32, or rounded to bf16 with sums in f32. */
export type Precision = 'f32' | 'bf16';
