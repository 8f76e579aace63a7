/**
 * A program whose metrics Deno exports by itself: `otel_deno_test.ts` starts it with `OTEL_DENO=true`. It has everything
 * happen to a buffer and to a producer, prints how many syncs there were, stops reporting the buffer when a line comes
 * in, and ends with its standard input.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { metrics } from "@opentelemetry/api";
import { instrument } from "../../src/metrics/otel.ts";
import { makeShipping, openOrders, useOrders, useShipping } from "./tools.ts";

const meter = metrics.getMeter("sluice");
const orders = await openOrders();
const shipping = await makeShipping();
const endOrders = instrument(orders, { meter, name: "orders" });
const endShipping = instrument(shipping.producer, { meter, name: "shipping" });
await useOrders(orders);
await useShipping(shipping.producer);
console.log(orders.stats().syncs);

for await (const _line of createInterface({ input: process.stdin })) endOrders();
endShipping();
await orders.close();
await shipping.close();
