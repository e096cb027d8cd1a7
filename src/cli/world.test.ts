import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { worldCommand } from './world.ts';

describe('tandem world', () => {
  it('asks for an output or a self-check', async () => {
    await assert.rejects(worldCommand().parseAsync([], { from: 'user' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /--out DIR/,
    });
  });

  it('names the range of a size', async () => {
    await assert.rejects(
      worldCommand().parseAsync(['--self-check', '--items', '10'], { from: 'user' }),
      /Expected an integer from 1000 to 50000000 for items/,
    );
  });
});
