/**
 * Exactly once on a real server of Redis, while producers and server are killed; see `engines/exactly_once.ts`.
 */

import { exactlyOnceTest } from "../engines/exactly_once.ts";

exactlyOnceTest("redis", 1);
exactlyOnceTest("ioredis", 1);
exactlyOnceTest("redis", 5);
