/**
 * Values that may be promises: most calls of a buffer end at once, and waiting for a promise costs more than the call itself.
 *
 * @module
 */

/** What is there already, or will be. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * Goes on with a value: now if it is there, else when it comes. Not called `then`, because a module that exports a function
 * of that name can't be imported dynamically: the importer takes it for a promise.
 */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value);
}
