/**
 * Exactly once on a real server of NATS, while producers and server are killed; see `engines/exactly_once.ts`.
 */

import { exactlyOnceTest } from "../engines/exactly_once.ts";

exactlyOnceTest("nats", 1);
exactlyOnceTest("nats", 5);
