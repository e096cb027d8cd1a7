// Branded identifiers, so that the compiler refuses an id of one kind where another kind is meant.

declare const brand: unique symbol;
/** A `Base` that only code which checks its origin may call a `Name`; cast with `as`. */
export type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A user as the caller names it. */
export type UserId = Branded<string, 'UserId'>;
/**
 * Digest of encoder weights and feature schema: states with different ids live in different spaces.
 */
export type EncoderId = Branded<string, 'EncoderId'>;
/** Digest over everything in a bundle. */
export type BundleId = Branded<string, 'BundleId'>;
