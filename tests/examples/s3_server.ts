/**
 * s3rver, a server of S3 that keeps its objects in files: `s3_server.ts DIRECTORY PORT`, where port 0 is any that is free. It has the
 * bucket `records`, says `ready PORT`, and runs until it is killed.
 */

import process from "node:process";
import { say } from "../support/children.ts";

/** What is used of the package, which has no types. */
interface Package {
  readonly default: new (options: object) => { run(): Promise<{ readonly port: number }> };
}

const [directory, port] = process.argv.slice(2);
const name = "s3rver";
const { default: S3rver } = await import(name) as Package;
const options = { address: "127.0.0.1", port: Number(port), directory, silent: true };
const server = new S3rver({ ...options, configureBuckets: [{ name: "records" }] });
say(`ready ${(await server.run()).port}`);
