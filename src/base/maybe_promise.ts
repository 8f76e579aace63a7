/**
 * Values that may be promises. Most calls of a buffer complete at once, and awaiting a promise costs more than the call itself.
 *
 * @module
 */

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * Goes on with a value: now if it is there, else when it comes. Not called `then`, because a module that exports a function
 * of that name can't be imported dynamically: the importer takes it for a promise.
 */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
