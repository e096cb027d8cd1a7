// tandem items: prints the items of PUT /v1/items as rows for an import, so that the next bundle
// has them.

import { Command } from 'commander';
import { TandemError } from '../errors.ts';
import { openStore } from '../store/open-store.ts';
import { withoutSecrets } from '../store/redis-location.ts';

/** Longer than the server's limit, because no request waits here. */
const STORE_TIMEOUT_MS = 10_000;

export function itemsCommand(): Command {
  return new Command('items')
    .description('print the items that were put over HTTP, as NDJSON for the next import')
    .requiredOption(
      '--store <location>',
      'feature store: an LMDB directory, or redis://host:port/db',
    )
    .action(async ({ store: location }: { store: string }) => {
      const store = await openStore(location, { readOnly: true, timeoutMs: STORE_TIMEOUT_MS });
      const { changes, damaged } = await store.readItemChanges().finally(() => store.close());
      for (const { item, record } of [...changes].sort((a, b) => a.atSeconds - b.atSeconds)) {
        if (record === undefined) continue;
        const { title, categories, advertiser, price, countries } = record;
        const row = {
          item,
          title,
          advertiser,
          price,
          countries,
          categories: categories.map(({ category }) => category),
          confidences: categories.map(({ confidence }) => confidence),
        };
        process.stdout.write(`${JSON.stringify(row)}\n`);
      }
      if (damaged.length > 0)
        throw new TandemError(
          'ERR_STORE_CORRUPT',
          `Expected intact changes of items in ${withoutSecrets(location)}, received damaged ` +
            `records of ${damaged.map((item) => `"${item}"`).join(', ')}. The other items were ` +
            'printed. Put or delete these items again.',
        );
    });
}
