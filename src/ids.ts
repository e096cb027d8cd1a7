// Branded identifiers, so that an item's external id is never passed where its row in a table is meant.

declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A user as the caller names it. */
export type UserId = Branded<string, 'UserId'>;
/** An item as the caller names it. */
export type ItemId = Branded<string, 'ItemId'>;
/** Digest of encoder weights and feature schema: states with different ids live in different spaces. */
export type EncoderId = Branded<string, 'EncoderId'>;
/** Digest over everything in a bundle. */
export type BundleId = Branded<string, 'BundleId'>;
