// A client of @connectrpc/connect-node: the services come from a file of descriptors, as `protoc
// --descriptor_set_out` writes it. It reads what to do as JSON, and prints what it saw.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const from = createRequire(path.join(process.env.NODE_PACKAGES, "package.json"));
const { createFileRegistry, fromBinary, toJson } = from("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = from("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = from("@connectrpc/connect");
const { createConnectTransport } = from("@connectrpc/connect-node");

const [descriptors, socketPath, format] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(descriptors)));
const transport = createConnectTransport({
  baseUrl: "http://localhost",
  httpVersion: "1.1",
  useBinaryFormat: format === "binary",
  nodeOptions: { socketPath },
});
const clara = (name) => createClient(registry.getService(`nvidia.clara.platform.${name}`), transport);
const appliance = (name) => createClient(registry.getService(`claraedge.v1.${name}`), transport);

async function all(stream) {
  const found = [];
  for await (const message of stream) found.push(message);
  return found;
}

// Follows a job from before it is started until it has stopped.
async function followed(jobId, start) {
  const states = [];
  async function* requests() {
    yield { request: { case: "follow", value: { jobIds: [jobId] } } };
  }
  let started = false;
  for await (const response of appliance("Events").watch(requests())) {
    const message = toJson(registry.getMessage("claraedge.v1.WatchResponse"), response);
    states.push(message);
    if (message.caughtUp && !started) {
      started = true;
      await start();
    }
    if (JSON.stringify(message).includes("JOB_STATE_STOPPED")) return states;
  }
  return states;
}

async function main() {
  const wanted = JSON.parse(fs.readFileSync(0, "utf8"));
  const pipelines = clara("Pipelines"), jobs = clara("Jobs"), payloads = clara("Payloads");
  const pipeline = await pipelines.create(
    (async function* () {
      yield { definition: { path: "p.yaml", content: wanted.pipeline } };
    })(),
  );
  const job = await jobs.create({ pipelineId: pipeline.pipelineId, name: "from connect" });
  await payloads.upload(
    (async function* () {
      for (const [name, text] of Object.entries(wanted.files)) {
        const data = Buffer.from(text);
        yield { payloadId: job.payloadId, details: { name, size: BigInt(data.length) }, data };
      }
    })(),
  );
  const events = await followed(job.jobId.value, () => jobs.start({ jobId: job.jobId }));
  const status = await jobs.status({ jobId: job.jobId });
  const listed = await all(jobs.list({ filter: { hasState: [status.state] } }));
  const chunks = await all(payloads.download({ payloadId: job.payloadId, name: wanted.output }));
  let refusal;
  try {
    await jobs.status({ jobId: { value: "0".repeat(32) } });
  } catch (error) {
    refusal = ConnectError.from(error);
  }
  console.log(
    JSON.stringify({
      status: toJson(registry.getMessage("nvidia.clara.platform.JobsStatusResponse"), status),
      listed: listed.map((entry) => entry.jobDetails?.jobId?.value),
      output: Buffer.concat(chunks.map((chunk) => chunk.data)).toString(),
      events: events.length,
      refusal: {
        code: Code[refusal.code],
        message: refusal.rawMessage,
        name: refusal.metadata.get("claraedge-error"),
        details: refusal.details.length,
      },
      job: job.jobId.value,
    }),
  );
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
