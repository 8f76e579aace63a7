/**
 * Values that may be promises: most calls of a buffer end at once, and waiting for a promise costs more than the call itself.
 *
 * @module
 */

/** What is there already, or will be. */
export type MaybePromise<T> = T | Promise<T>;
