// Known order, partly known times: how an adapter gives every event a time that respects the order.

/**
 * SELECT of all columns of `relation` with NULLs of `time` filled: the last known time at or before the row in the
 * user's own order, else the user's first known, else that of the nearest user before (or after) in `userOrder`.
 *
 * A filled time is never later than the next known one of the same user, so sorting by (time, position) keeps the order.
 */
export function fillTimes(
  relation: string,
  user: string,
  position: string,
  userOrder: string,
): string {
  const own = `PARTITION BY ${user} ORDER BY ${position}`;
  return `SELECT * REPLACE (coalesce(
      last_value(time IGNORE NULLS) OVER (${own} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
      first_value(time IGNORE NULLS) OVER (${own} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
      last_value(time IGNORE NULLS) OVER (ORDER BY ${userOrder}, ${position} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
      first_value(time IGNORE NULLS) OVER (ORDER BY ${userOrder}, ${position} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    ) AS time) FROM ${relation}`;
}
