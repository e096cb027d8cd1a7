// A made-up shop of about a hundred items with a simple rule: a user buys from the category of the
// user's taste or from the category in view. It is small enough to train on in seconds. It exists
// as plain rows, as files for `tandem import`, and as a dataset in memory.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset, RequestRecord } from '../../src/data/dataset.ts';
import { microDataset } from './micro-dataset.ts';
import { DEFAULT_TRAINING, type TrainConfig } from '../../src/model/train-config.ts';
import { Random } from '../../src/random.ts';

const DAY = 86_400;
export const SHOP_START: number = Date.UTC(2026, 0, 1) / 1000;
export const SHOP_TEST_FROM: number = SHOP_START + 60 * DAY;
const SHOP_END = SHOP_START + 70 * DAY;

export const SHOP_CATEGORIES: readonly string[] = [
  'board games',
  'camping',
  'coffee',
  'cycling',
  'gardening',
  'knitting',
  'photography',
  'running shoes',
];
const ADVERTISERS = ['acme', 'globex', 'initech', 'umbrella'];
const COUNTRIES = ['DE', 'FR', 'US'];
const GENDERS = ['f', 'm'];
const MODELS = ['basic', 'classic', 'light', 'pro', 'travel', 'junior'];

export interface ShopItem {
  readonly id: string;
  readonly title: string;
  readonly categories: readonly string[];
  readonly confidences: readonly number[];
  readonly advertiser: string;
  readonly price: number;
  readonly countries: readonly string[];
}

export interface ShopUser {
  readonly id: string;
  readonly age: number;
  readonly gender: string;
  readonly country: string;
}

export interface ShopEvent {
  readonly user: number;
  readonly item: number;
  readonly time: number;
  readonly action: 'add_to_cart' | 'purchase';
}

export interface ShopRequest {
  readonly user: number;
  readonly time: number;
  readonly subject: number;
  readonly query: string;
  readonly positive: number;
}

export interface Shop {
  readonly items: readonly ShopItem[];
  readonly users: readonly ShopUser[];
  /** In order of (user, time). */
  readonly events: readonly ShopEvent[];
  /** Requests with their conversions, by time. */
  readonly requests: readonly ShopRequest[];
}

export interface ShopSize {
  readonly items: number;
  readonly users: number;
  readonly seed: number;
}

export function makeShop({ items, users, seed }: ShopSize): Shop {
  const random = new Random(seed);
  const groups = SHOP_CATEGORIES.length;
  const ofGroup = (group: number): number =>
    group + groups * random.integer(Math.ceil((items - group) / groups));
  const events: ShopEvent[] = [];
  const requests: ShopRequest[] = [];
  for (let user = 0; user < users; user++) {
    const taste = user % groups;
    const sessions = 4 + random.integer(12);
    // Distinct minutes, so that no two events of a user are at the same time.
    const minutes = new Set<number>();
    while (minutes.size < sessions) minutes.add(random.integer((SHOP_END - SHOP_START) / 60));
    for (const minute of [...minutes].sort((a, b) => a - b)) {
      const time = SHOP_START + minute * 60;
      const looking = random.integer(groups);
      const subject = ofGroup(looking);
      let positive = subject;
      while (positive === subject) positive = ofGroup(random.uniform() < 0.5 ? taste : looking);
      const query = random.uniform() < 0.2 ? SHOP_CATEGORIES[looking]! : '';
      events.push({
        user,
        item: positive,
        time,
        action: random.uniform() < 0.3 ? 'purchase' : 'add_to_cart',
      });
      requests.push({ user, time: time - 30, subject, query, positive });
    }
  }
  return {
    items: Array.from({ length: items }, (_, i) => {
      const group = i % groups;
      const name = SHOP_CATEGORIES[group]!;
      return {
        id: `item-${String(i).padStart(3, '0')}`,
        title: `${name} ${MODELS[i % MODELS.length]!} ${i}`,
        categories: i % 5 === 0 ? [name, SHOP_CATEGORIES[(group + 1) % groups]!] : [name],
        confidences: i % 5 === 0 ? [1, 0.25] : [1],
        advertiser: i % 11 === 0 ? '' : ADVERTISERS[i % ADVERTISERS.length]!,
        price: i % 7 === 0 ? Number.NaN : 5 + ((i * 37) % 200),
        countries: i % 3 === 0 ? [] : [COUNTRIES[i % 2]!],
      };
    }),
    users: Array.from({ length: users }, (_, i) => ({
      id: `user-${String(i).padStart(4, '0')}`,
      age: i % 6 === 0 ? Number.NaN : 16 + ((i * 13) % 60),
      gender: GENDERS[i % 2]!,
      country: COUNTRIES[i % 3]!,
    })),
    events,
    requests: requests.sort((a, b) => a.time - b.time || a.user - b.user),
  };
}

/** The shop as it was at `until`: its first items, and their events and requests until then. */
export function earlierShop(shop: Shop, items: number, until: number): Shop {
  return {
    ...shop,
    items: shop.items.slice(0, items),
    events: shop.events.filter(({ item, time }) => item < items && time < until),
    requests: shop.requests.filter(
      ({ subject, positive, time }) => subject < items && positive < items && time < until,
    ),
  };
}

/** Converts the shop into a dataset, as the reader of an imported one would return it. */
export function shopDataset(shop: Shop): Dataset {
  const { items, users, events } = shop;
  const requests = shop.requests.map(
    ({ user, time, subject, query, positive }, i): RequestRecord => ({
      id: `r${i}`,
      user,
      time,
      surface: query === '' ? 'related' : 'search',
      subject: query === '' ? { kind: 'item', item: subject } : { kind: 'query', query },
      positives: [positive],
      delivered: [],
      demographics: {},
      slice: '',
    }),
  );
  const micro = microDataset(
    items.length,
    events,
    requests,
    SHOP_TEST_FROM,
    items.map(({ categories }) => categories),
  );
  const actionNames = ['add_to_cart', 'purchase'];
  return {
    ...micro,
    name: 'shop',
    digest: 'ab'.repeat(32),
    items: {
      ...micro.items,
      ids: items.map(({ id }) => id),
      titles: items.map(({ title }) => title),
      advertisers: items.map(({ advertiser }) => advertiser),
      prices: Float64Array.from(items, ({ price }) => price),
      categoryConfidences: Float32Array.from(items.flatMap(({ confidences }) => confidences)),
      countries: items.map(({ countries }) => countries),
    },
    users: {
      ...micro.users,
      ids: users.map(({ id }) => id),
      ages: Float32Array.from(users, ({ age }) => age),
      genders: users.map(({ gender }) => gender),
      countries: users.map(({ country }) => country),
    },
    events: {
      ...micro.events,
      actionNames,
      actions: Int32Array.from(events, ({ action }) => actionNames.indexOf(action)),
    },
  };
}

/** Writes the shop as raw files with a source manifest, source.json, for `tandem import`. */
export function writeShop(folder: string, shop: Shop, testFrom: number = SHOP_TEST_FROM): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, lines: readonly string[]): void => {
    writeFileSync(join(folder, name), lines.map((line) => `${line}\n`).join(''));
  };
  const known = (value: number): number | null => (Number.isNaN(value) ? null : value);
  write(
    'items.ndjson',
    shop.items.map((item) => JSON.stringify({ ...item, price: known(item.price) })),
  );
  write('users.csv', [
    'user,age,gender,country',
    ...shop.users.map(({ id, age, gender, country }) =>
      [id, Number.isNaN(age) ? '' : age, gender, country].join(','),
    ),
  ]);
  write('events.csv', [
    'user,item,time,action',
    ...shop.events.map(({ user, item, time, action }) =>
      [shop.users[user]!.id, shop.items[item]!.id, time, action].join(','),
    ),
  ]);
  write(
    'requests.ndjson',
    shop.requests.map(({ user, time, subject, query, positive }, i) =>
      JSON.stringify({
        id: `r${String(i).padStart(6, '0')}`,
        user: shop.users[user]!.id,
        time,
        ...(query === '' ? { subject: shop.items[subject]!.id } : { query }),
        surface: query === '' ? 'related' : 'search',
        positives: [shop.items[positive]!.id],
      }),
    ),
  );
  write('source.json', [JSON.stringify({ ...SHOP_SOURCE, testFrom }, null, 2)]);
}

const SHOP_SOURCE = {
  name: 'shop',
  events: {
    file: 'events.csv',
    columns: { user: 'user', item: 'item', time: { column: 'time', unit: 's' }, action: 'action' },
  },
  items: {
    file: 'items.ndjson',
    columns: {
      item: 'id',
      title: 'title',
      categories: 'categories',
      confidences: 'confidences',
      advertiser: 'advertiser',
      price: 'price',
      countries: 'countries',
    },
  },
  users: {
    file: 'users.csv',
    columns: { user: 'user', age: 'age', gender: 'gender', country: 'country' },
  },
  requests: {
    file: 'requests.ndjson',
    columns: {
      id: 'id',
      user: 'user',
      time: { column: 'time', unit: 's' },
      positives: 'positives',
      surface: 'surface',
      subjectItem: 'subject',
      query: 'query',
    },
  },
};

/**
 * Settings of a model with a few thousand weights, beside its query table, which trains in seconds.
 */
export const SHOP_TRAINING: TrainConfig = {
  ...DEFAULT_TRAINING,
  model: {
    fusion: 'concat',
    embeddingWidth: 16,
    blocks: 1,
    heads: 2,
    feedForwardWidth: 32,
    maxHistory: 8,
    actionWidth: 4,
    subjectWidth: 4,
    demographicWidth: 2,
    contextWidth: 8,
    hiddenWidth: 16,
    historyMean: false,
    subjectItem: false,
  },
  usersPerStep: 16,
  positivesPerUser: 4,
  steps: 300,
  learningRate: 1e-2,
  warmupSteps: 10,
  temperature: 0.1,
  encoderDropout: 0.1,
  contextDropout: 0.1,
  validateEvery: 100,
  patience: 5,
};
