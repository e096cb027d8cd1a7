// Bodies for the fuzz row: values that fit the schemas of /openapi.json, the same with one wrong
// member, and bytes that are not JSON.

import fc, { type Arbitrary } from 'fast-check';
import { TINY_CATEGORIES, TINY_COUNTRIES, tinyItem } from '../support/tiny-bundle.ts';

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
}

/** The members of /openapi.json that this file reads. */
export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, object>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** Larger arrays take as long as many cases and find nothing new. */
export const MOST_ITEMS: number = 4;
export const KNOWN: readonly string[] = [
  'user-1',
  'nobody',
  'click',
  'DE',
  'f',
  tinyItem(3).id,
  tinyItem(59).id,
  ...TINY_CATEGORIES,
  ...TINY_COUNTRIES,
];

/** Stands for more nested arrays than a recursive function can read; jsonBytes() writes them. */
const DEEP = '@deep';
const DEPTH = 20_000;

/** Values that a layer could take for something else. */
export const odd: Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(0, -0, -1, 1e308, 5e-324, 2 ** 53, 2 ** 31, 0.5, 1001),
  fc.constantFrom<unknown>(null, true, false, '', '\ud800', '\0', '__proto__', 'constructor'),
  fc.constantFrom<unknown>([], {}, [[]], [null], { length: 1e9 }, { toString: 1 }),
  fc.string({ unit: 'binary', maxLength: 400 }),
  fc.constant(DEEP),
);

/** Values that fit `schema`. */
function fitting(schema: Schema, schemas: OpenApi['components']['schemas']): Arbitrary<unknown> {
  if (schema.$ref !== undefined) return fitting(schemas[schema.$ref.split('/').at(-1)!]!, schemas);
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined)
    return fc.oneof(...schema.anyOf.map((one) => fitting(one, schemas)));
  const { minLength = 0, maxLength = 64, minimum, maximum } = schema;
  switch (schema.type) {
    case 'string':
      return fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(...KNOWN) },
        fc.string({ unit: 'binary', minLength, maxLength }),
      );
    case 'integer':
      return fc.integer({ min: Math.max(minimum ?? -10, -10), max: Math.min(maximum ?? 1e6, 1e6) });
    case 'number':
      return fc.double({ min: minimum ?? -1e9, max: maximum ?? 2e9, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'array':
      return fc.array(fitting(schema.items ?? {}, schemas), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? MOST_ITEMS, MOST_ITEMS),
      });
    case 'object':
      return object(schema, schemas);
    default:
      return fc.oneof(odd, fc.constantFrom(...KNOWN));
  }
}

function object(schema: Schema, schemas: OpenApi['components']['schemas']): Arbitrary<unknown> {
  const { properties = {}, required = [], maxProperties } = schema;
  const members = Object.fromEntries(
    Object.entries(properties).map(([name, member]) => [name, fitting(member, schemas)]),
  );
  if (maxProperties === 1)
    return fc.oneof(
      ...Object.entries(members).map(([name, member]) => fc.record({ [name]: member })),
    );
  return fc.record(members, { requiredKeys: [...required] });
}

/** A copy in which one member, at any depth, has another value, is missing, or has another name. */
export function spoilt(value: Arbitrary<unknown>): Arbitrary<unknown> {
  return fc
    .tuple(value, fc.nat(), odd, fc.constantFrom('replace', 'replace', 'remove', 'rename'))
    .map(([whole, draw, other, how]) => {
      const copy = { whole: structuredClone(whole) } as Record<string, unknown>;
      const places: [Record<string, unknown>, string][] = [[copy, 'whole']];
      for (const [holder, name] of places) {
        const inner = holder[name];
        if (typeof inner === 'object' && inner !== null && places.length < 1000)
          for (const key of Object.keys(inner))
            places.push([inner as Record<string, unknown>, key]);
      }
      const [holder, name] = places[draw % places.length]!;
      if (how === 'rename') holder[`${name}x`] = holder[name];
      if (how === 'replace') holder[name] = other;
      else Reflect.deleteProperty(holder, name);
      return copy['whole'];
    });
}

/** The bytes with one to three changes: a byte set or inserted, the rest cut off or doubled. */
export function scarred(bytes: Arbitrary<Buffer>): Arbitrary<Buffer> {
  const scar = fc.tuple(
    fc.nat(),
    fc.nat({ max: 255 }),
    fc.constantFrom('set', 'put', 'cut', 'double'),
  );
  return fc.tuple(bytes, fc.array(scar, { minLength: 1, maxLength: 3 })).map(([whole, scars]) => {
    let copy = Buffer.from(whole);
    for (const [draw, byte, how] of scars) {
      const at = draw % (copy.length + 1);
      const [before, after] = [copy.subarray(0, at), copy.subarray(at)];
      if (how === 'cut') copy = Buffer.from(before);
      else if (how === 'double') copy = Buffer.concat([copy, after]);
      else
        copy = Buffer.concat([before, Buffer.of(byte), how === 'set' ? after.subarray(1) : after]);
    }
    return copy;
  });
}

/** @returns the JSON of `value`; no bytes for undefined, a value that spoilt() has removed. */
export function jsonBytes(value: unknown): Buffer {
  const text = value === undefined ? '' : JSON.stringify(value);
  return Buffer.from(text.replaceAll(`"${DEEP}"`, '['.repeat(DEPTH) + ']'.repeat(DEPTH)));
}

/**
 * Bodies for the schema `name`: JSON that fits, JSON that nearly fits, and bytes that are not JSON.
 */
export function bodyOf(name: string, { components: { schemas } }: OpenApi): Arbitrary<Buffer> {
  const right = fitting({ $ref: name }, schemas);
  return fc.oneof(
    { weight: 3, arbitrary: right.map(jsonBytes) },
    { weight: 4, arbitrary: spoilt(right).map(jsonBytes) },
    { weight: 2, arbitrary: scarred(right.map(jsonBytes)) },
    odd.map(jsonBytes),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.integer({ min: 1, max: 100_000 }).map((depth) => Buffer.from('['.repeat(depth))),
  );
}
