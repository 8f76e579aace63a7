/**
 * Exactly once on a real server of PostgreSQL, while producers and server are killed; see `engines/exactly_once.ts`.
 */

import { exactlyOnceTest } from "../engines/exactly_once.ts";

exactlyOnceTest("postgres", 1);
exactlyOnceTest("postgres-pg", 5);
exactlyOnceTest("postgres-transaction", 1);
