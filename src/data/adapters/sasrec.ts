// The text form of SASRec: one "user item" per line, a user's lines in order of time. There are
// positions but no times.

import { basename } from 'node:path';
import type { Adapter } from './adapter.ts';

export const sasrec: Adapter = {
  name: 'sasrec',
  description:
    'text of "user item" lines in time order (.txt or .txt.gz), or a folder with one such file',
  prepare(_database, files) {
    const path = files.only(/\.txt(\.gz)?$/i, 'one .txt or .txt.gz file');
    return Promise.resolve({
      name: `sasrec-${basename(path).replace(/\.txt(\.gz)?$/i, '')}`,
      events: {
        files: [path],
        format: 'csv',
        csv: { delimiter: ' ', header: false, columns: ['user', 'item'], quote: '' },
        columns: { user: { column: 'user' }, item: { column: 'item' } },
      },
    });
  },
};
