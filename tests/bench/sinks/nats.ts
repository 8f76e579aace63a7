/**
 * NATS JetStream: the sink beside messages that are published over the bare connection, whose acknowledgements one inbox takes and counts.
 * By hand each has a `Nats-Msg-Id`, which keeps copies out for as long as the stream's duplicate window, and nothing keeps the order
 * when a message is lost. On a server of 2.12 or later, also as atomic batches.
 */

import { findNats, NatsCluster } from "../../engines/nats_servers.ts";
import { loadJetStream, loadNats } from "../../engines/clients.ts";
import { natsSink } from "../../../src/sinks/nats.ts";
import type { Delivery } from "../../../src/producer/delivery.ts";
import type { BenchRecord, OpenContest, SinkContest } from "./contest.ts";

/** What of a server's disk the streams take. */
const MAX_MESSAGES = 200_000;

type Connection = Awaited<ReturnType<Awaited<ReturnType<typeof loadNats>>["connect"]>>;
type ByHand = (delivery: Delivery<BenchRecord>) => Promise<void>;

async function open(
  program: string | undefined,
  isAtomic: boolean,
  toWay: (connection: Connection) => Promise<ByHand>,
): Promise<OpenContest | undefined> {
  if (program === undefined) return undefined;
  const cluster = await NatsCluster.start(program, 1);
  const { connect } = await loadNats();
  const { jetstream, jetstreamManager } = await loadJetStream();
  const connection = await connect({ servers: `127.0.0.1:${cluster.ports[0]}` });
  const { streams } = await jetstreamManager(connection);
  for (const name of ["ours", "hand"]) {
    const atomic = isAtomic ? { allow_atomic: true } : {};
    await streams.add({ name, subjects: [name], max_msgs: MAX_MESSAGES, ...atomic });
  }
  return {
    ours: natsSink<BenchRecord>(jetstream(connection), { stream: "ours", subject: "ours" }),
    byHand: await toWay(connection),
    async close() {
      await connection.close();
      await cluster.remove();
    },
  };
}

async function toMessages(connection: Connection): Promise<ByHand> {
  const { createInbox, headers } = await loadNats();
  const inbox = createInbox();
  let missing = 0;
  let settle: { resolve(): void; reject(error: unknown): void } | undefined;
  connection.subscribe(inbox, {
    callback(error, message) {
      const answer = error ?? message.json<{ error?: unknown }>().error;
      if (answer !== undefined) settle!.reject(answer);
      else if (--missing === 0) settle!.resolve();
    },
  });
  return ({ batchId, sequences, payloads }) =>
    new Promise((resolve, reject) => {
      settle = { resolve, reject };
      missing = payloads.length;
      for (const [i, payload] of payloads.entries()) {
        const header = headers();
        header.set("Nats-Msg-Id", `${batchId}:${sequences[i]}`);
        connection.publish("hand", payload, { reply: inbox, headers: header });
      }
    });
}

async function toAtomicBatches(connection: Connection): Promise<ByHand> {
  const { jetstream } = await loadJetStream();
  const client = jetstream(connection);
  return async ({ payloads }) => {
    const batch = await client.startBatch("hand", payloads[0]!);
    for (let i = 1; i < payloads.length - 1; i++) batch.add("hand", payloads[i]!, { ack: false });
    await batch.commit("hand", payloads.at(-1)!);
  };
}

/** The contests of this target. */
export const contests: readonly SinkContest[] = [
  { name: "NATS", goal: 0.8, open: () => open(findNats("installed"), false, toMessages) },
  { name: "NATS 2.15", goal: 0.8, open: () => open(findNats("sid"), false, toMessages) },
  { name: "NATS 2.15, atomic batches", goal: 0.8, open: () => open(findNats("sid"), true, toAtomicBatches) },
];
