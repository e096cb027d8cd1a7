// Runs TypeScript in Node 20 and newer: `node --import ./tools/typescript.mjs FILE.ts`. It only
// removes the types, as Node 24 does itself, so lines and columns of errors are those of the
// source. tsx does the same and more, and needs half a second longer to load a server's modules.
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
