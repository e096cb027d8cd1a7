// --index, the option of all commands that build an index.

import { Option } from 'commander';

export function indexOption(): Option {
  return new Option(
    '--index <kind>',
    'kind of index; clusters: partitions of 8-bit codes; hnsw: a usearch graph',
  )
    .choices(['clusters', 'hnsw'])
    .default('clusters');
}
