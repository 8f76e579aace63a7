/**
 * Turns Deno's leak sanitizers on for `node:test`: `deno test --preload=tests/sanitizers.ts`.
 *
 * A test fails when a file, a timer or a pending operation of its own is left over at its end. Deno has that for its own
 * tests, behind `--sanitize-ops --sanitize-resources`, but its `node:test` turns it off for every test it registers.
 */

const register = Deno.test;

Object.assign(Deno, {
  test: Object.assign(
    (test: Deno.TestDefinition) => register({ ...test, sanitizeOps: true, sanitizeResources: true }),
    register,
  ),
});
