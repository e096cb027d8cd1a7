// Units of time.

export const DAY_SECONDS = 86_400;
