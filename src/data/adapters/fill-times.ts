// Gives every event a time when the order of all events is known, but only some of their times.

/**
 * SELECT of all columns of `relation` in which each NULL of `time` is replaced: by the user's last
 * known time before the row, else by the user's first known time, else by the time of the nearest
 * user before or after in `userOrder`.
 *
 * A replaced time is never later than the user's next known time, so sorting by (time, position)
 * keeps the order.
 */
export function fillTimes(
  relation: string,
  user: string,
  position: string,
  userOrder: string,
): string {
  const own = `PARTITION BY ${user} ORDER BY ${position}`;
  const all = `ORDER BY ${userOrder}, ${position}`;
  const before = 'ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW';
  const after = 'ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING';
  return `SELECT * REPLACE (coalesce(
      last_value(time IGNORE NULLS) OVER (${own} ${before}),
      first_value(time IGNORE NULLS) OVER (${own} ${after}),
      last_value(time IGNORE NULLS) OVER (${all} ${before}),
      first_value(time IGNORE NULLS) OVER (${all} ${after})
    ) AS time) FROM ${relation}`;
}
