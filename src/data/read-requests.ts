// Reads the requests of an imported dataset, the only table whose rows become objects.

import type { RequestRecord, Subject, Surface } from './dataset.ts';
import type { DatasetFiles, UserPart } from './dataset-files.ts';
import { numberSink, offsetSink, textSink } from './duckdb.ts';
import { texts } from './read-tables.ts';

/** Unix seconds, [from, until). */
export interface TimeRange {
  readonly from: number;
  readonly until: number;
}

export const ALL_TIME: TimeRange = { from: -Infinity, until: Infinity };

/**
 * Reads the requests of a part's users and the part's share of the requests without a user, by
 * (time, id). User rows count from the part's first user.
 */
export async function readRequests(
  files: DatasetFiles,
  part: UserPart,
  range: TimeRange,
): Promise<readonly RequestRecord[]> {
  if (files.file.counts.requests === 0) return [];
  const where = conditionOf(part, range);
  let table = newRequestTable(0);
  await files.columns(
    `id, CASE WHEN "user" < 0 THEN -1 ELSE "user" - ${part.begin} END, time, surface,
       subject_kind, subject_item, query, age, gender, country, slice,
       len(positives)::INTEGER, len(delivered)::INTEGER, len(interests)::INTEGER`,
    'requests.parquet',
    where,
    (rows) => {
      table = newRequestTable(rows);
      return [
        textSink(table.ids),
        numberSink(table.users),
        numberSink(table.times),
        textSink(table.surfaces),
        textSink(table.kinds),
        numberSink(table.subjects),
        textSink(table.queries),
        numberSink(table.ages, Number.NaN),
        textSink(table.genders),
        textSink(table.countries),
        textSink(table.slices),
        offsetSink(table.positiveOffsets),
        offsetSink(table.deliveredOffsets),
        offsetSink(table.interestOffsets),
      ];
    },
  );
  const count = table.ids.length;
  const positives = new Int32Array(table.positiveOffsets[count]!);
  const delivered = new Int32Array(table.deliveredOffsets[count]!);
  const interests = texts(table.interestOffsets[count]!);
  const confidences = new Float32Array(table.interestOffsets[count]!);
  await files.columns('unnest(positives)', 'requests.parquet', where, () => [
    numberSink(positives),
  ]);
  await files.columns('unnest(delivered)', 'requests.parquet', where, () => [
    numberSink(delivered),
  ]);
  await files.columns(
    'unnest(interests), unnest(interest_confidences)',
    'requests.parquet',
    where,
    () => [textSink(interests), numberSink(confidences)],
  );
  const subject = (row: number): Subject => {
    switch (table.kinds[row]) {
      case 'item':
        return { kind: 'item', item: table.subjects[row]! };
      case 'query':
        return { kind: 'query', query: table.queries[row]! };
      case 'interests':
        return {
          kind: 'interests',
          interests: interests
            .slice(table.interestOffsets[row], table.interestOffsets[row + 1])
            .map((category, i) => ({
              category,
              confidence: confidences[table.interestOffsets[row]! + i]!,
            })),
        };
      default:
        return { kind: 'none' };
    }
  };
  const valuesOf = (values: Int32Array, offsets: Int32Array, row: number): number[] => [
    ...values.subarray(offsets[row], offsets[row + 1]),
  ];
  return table.ids.map((id, row) => ({
    id,
    user: table.users[row]!,
    time: table.times[row]!,
    surface: table.surfaces[row] as Surface,
    subject: subject(row),
    positives: valuesOf(positives, table.positiveOffsets, row),
    delivered: valuesOf(delivered, table.deliveredOffsets, row),
    demographics: {
      ...(!Number.isNaN(table.ages[row]!) && { age: table.ages[row]! }),
      ...(table.genders[row] !== '' && { gender: table.genders[row]! }),
      ...(table.countries[row] !== '' && { country: table.countries[row]! }),
    },
    slice: table.slices[row]!,
  }));
}

function conditionOf(part: UserPart, { from, until }: TimeRange): string {
  const anonymous = `"user" < 0 AND file_row_number % ${part.count} = ${part.index}`;
  return `WHERE ("user" BETWEEN ${part.begin} AND ${part.end - 1} OR (${anonymous}))
    AND time >= '${from}'::DOUBLE AND time < '${until}'::DOUBLE`;
}

/** Empty columns for `count` requests. */
function newRequestTable(count: number) {
  return {
    ids: texts(count),
    users: new Int32Array(count),
    times: new Float64Array(count),
    surfaces: texts(count),
    kinds: texts(count),
    subjects: new Int32Array(count),
    queries: texts(count),
    ages: new Float32Array(count),
    genders: texts(count),
    countries: texts(count),
    slices: texts(count),
    positiveOffsets: new Int32Array(count + 1),
    deliveredOffsets: new Int32Array(count + 1),
    interestOffsets: new Int32Array(count + 1),
  };
}
