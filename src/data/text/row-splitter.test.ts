import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { INCOMPLETE, nextLine, RowSplitter } from './row-splitter.ts';

const DELIMITERS = [',', ';', '\t', '|', ' ', '::', '¦', ', '];

interface Split {
  readonly end: number;
  readonly cells: readonly string[];
  readonly lineEnds: number;
  readonly problem: string | undefined;
}

function split(splitter: RowSplitter, data: Buffer, start: number, final: boolean): Split {
  const end = splitter.split(data, start, final);
  const { cells, starts, ends, lineEnds, problem } = splitter;
  return {
    end,
    cells: Array.from({ length: cells }, (_, i) => data.toString('utf8', starts[i], ends[i])),
    lineEnds,
    problem,
  };
}

describe('RowSplitter', () => {
  it('splits a row the same however many bytes are there: enough, or it asks for more', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', ',', ';', '"', '\r', '\n', ' ', ':', 'é', '¦', '\t'),
      maxLength: 14,
    });
    fc.assert(
      fc.property(text, fc.constantFrom(...DELIMITERS), (content, delimiter) => {
        const splitter = new RowSplitter(delimiter, '"');
        const data = Buffer.from(content);
        const whole = split(splitter, data, 0, true);
        for (let length = 0; length < data.length; length++) {
          const part = split(splitter, data.subarray(0, length), 0, false);
          if (part.end === INCOMPLETE) continue;
          assert.deepEqual(part, whole, `${length} bytes of ${JSON.stringify(content)}`);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('ends a line at LF, CR LF or CR', () => {
    const data = Buffer.from('a\r\nb\rc\nd');
    assert.deepEqual(
      [0, 3, 5, 7].map((at) => nextLine(data, at, true)),
      [3, 5, 7, INCOMPLETE],
    );
    assert.equal(nextLine(Buffer.from('a\r'), 0, false), INCOMPLETE);
    assert.equal(nextLine(Buffer.from('a\r'), 0, true), 2);
  });

  it('says what is wrong with a quoted cell', () => {
    const splitter = new RowSplitter(',', '"');
    const problem = (text: string): string | undefined =>
      split(splitter, Buffer.from(text), 0, true).problem;
    assert.equal(problem('"a,b\nc'), 'open quote');
    assert.equal(problem('"a"b,c\n'), 'text after a closing quote');
    assert.equal(problem('a"b,c"\n'), undefined);
    assert.deepEqual(split(splitter, Buffer.from(' "a,b" ,c'), 0, true).cells, ['a,b', 'c']);
  });
});
