/**
 * Documents, a line of JSON each from standard input, to an index of Elasticsearch by `_bulk`, each once: its `_id` is the record's
 * identity, and one that is there isn't created again.
 *
 *     deno run --allow-read=. --allow-write=. --allow-net examples/elasticsearch.ts http://127.0.0.1:9200/clicks < clicks.ndjson
 *     bun --tsconfig-override=tests/std/tsconfig.json examples/elasticsearch.ts http://127.0.0.1:9200/clicks < clicks.ndjson
 *     node --import ./tests/std/resolve.mjs examples/elasticsearch.ts http://127.0.0.1:9200/clicks < clicks.ndjson
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { deadLetterCodec, FileBuffer, Producer, textCodec } from "@sluice/buffer";
import { httpSink } from "@sluice/buffer/sinks/http";

const [url = "http://127.0.0.1:9200/clicks"] = process.argv.slice(2);

interface BulkAnswer {
  readonly items: readonly {
    readonly create: { readonly status: number; readonly error?: { readonly type: string; readonly reason: string } };
  }[];
}

const send = httpSink<string>(`${url}/_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason`, {
  gzip: true,
  expect: { header: "x-elastic-product" }, // a portal's page has none; OpenSearch hasn't either
  body: ({ batchId, sequences, records }) =>
    records.map((json, i) => `{"create":{"_id":"${batchId}-${sequences[i]}"}}\n${json}\n`).join(""),
  // 409: it is there since an earlier attempt. 400: the document doesn't fit, unless the cluster has no room for the shards of a new
  // index, which is a `validation_exception`. Anything else, such as 429, passes.
  failures: ({ body }, { records }) => {
    const { items } = JSON.parse(body) as BulkAnswer;
    return records.flatMap((_, index) => {
      const { status, error } = items[index]!.create;
      if (status < 300 || status === 409) return [];
      const retryable = status !== 400 || error?.type === "validation_exception";
      return [{ index, retryable, reason: `status ${status}: ${error?.reason}` }];
    });
  },
});

const buffer = await FileBuffer.open({
  path: ".sluice-elasticsearch",
  codec: textCodec(),
  maxRecords: 500,
  maxAgeMs: 1_000,
});
const deadLetters = await FileBuffer.open({ path: ".sluice-elasticsearch-dead", codec: deadLetterCodec(buffer.codec) });
const producer = new Producer({ buffer, send, deadLetters, onEvent: (event) => console.error(event.type) });

for await (const json of createInterface({ input: process.stdin })) await producer.put(json);
await producer.flush(); // resolves when the index has everything, or the buffer of dead letters
await producer.close();
await buffer.close();
await deadLetters.close();
