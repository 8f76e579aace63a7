/**
 * Values that may be promises. Most calls of a buffer complete at once, and awaiting a promise costs more than the call itself.
 *
 * @module
 */

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;
