// How native objects move between threads.

/**
 * The result of share(): post it to another thread and use it there once. That thread then owns the
 * same native object, too. A ticket that is never used keeps the object alive.
 */
export type Ticket<T> = bigint & { readonly ticketFor?: T };
