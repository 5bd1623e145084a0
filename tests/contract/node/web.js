// A client of @connectrpc/connect-web, which uses `fetch` as in a browser. It reads what to do as
// JSON, and prints what it saw.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const from = createRequire(path.join(process.env.NODE_PACKAGES, "package.json"));
const { createFileRegistry, fromBinary, toJson } = from("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = from("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = from("@connectrpc/connect");
const { createConnectTransport } = from("@connectrpc/connect-web");

const [descriptors, baseUrl, token, format] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(descriptors)));
const transport = createConnectTransport({
  baseUrl,
  useBinaryFormat: format === "binary",
  interceptors: [
    (next) => (request) => {
      request.header.set("Authorization", `Bearer ${token}`);
      return next(request);
    },
  ],
});
const client = (name) => createClient(registry.getService(name), transport);
const json = (name, message) => toJson(registry.getMessage(`nvidia.clara.platform.${name}`), message);

async function main() {
  const { jobId } = JSON.parse(fs.readFileSync(0, "utf8"));
  const jobs = client("nvidia.clara.platform.Jobs");
  const id = { value: jobId };
  const status = await jobs.status({ jobId: id });
  const listed = [];
  for await (const entry of jobs.list({ filter: { hasState: [status.state] } })) listed.push(entry);
  const version = await client("nvidia.clara.platform.Clara").version({});
  const device = await client("claraedge.v1.Appliance").status({});
  let refusal;
  try {
    await jobs.status({ jobId: { value: "0".repeat(32) } });
  } catch (error) {
    refusal = ConnectError.from(error);
  }
  console.log(
    JSON.stringify({
      status: json("JobsStatusResponse", status),
      listed: listed.map((entry) => entry.jobDetails.jobId.value),
      version: json("ClaraVersionResponse", version),
      device: device.version,
      refusal: { code: Code[refusal.code], name: refusal.metadata.get("claraedge-error") },
    }),
  );
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
