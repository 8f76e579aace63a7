/**
 * To a bucket of S3, each delivery once, as an object of NDJSON that is named by the delivery's id: sent again, it replaces itself.
 *
 *     const client = new S3({ region: "eu-central-1" }); // of @aws-sdk/client-s3
 *     const producer = new Producer({ buffer, send: s3Sink<Order>(client, "orders") });
 *
 * Objects are worth their price from some MiB on: give the buffer a large `maxBytes` and `maxAgeMs`.
 */

import type { S3, S3ServiceException } from "@aws-sdk/client-s3";
import { DeliveryError, type Send } from "@sluice/buffer";

export const s3Sink = <T>(client: S3, bucket: string): Send<T> => async ({ id, records }, { signal: abortSignal }) => {
  const Body = records.map((record) => JSON.stringify(record) + "\n").join("");
  try {
    await client.putObject({ Bucket: bucket, Key: `${id}.ndjson`, Body }, { abortSignal });
  } catch (cause) {
    const status = (cause as S3ServiceException).$metadata?.httpStatusCode ?? 503;
    // 403 and 404 last until somebody acts.
    const retryable = status >= 500 || status === 429;
    throw new DeliveryError({ reason: `${cause}`, scope: "target", retryable }, { cause });
  }
};
