// A client made from protos/ in Node.js: `client.js services PROTOS`, or `client.js flow PROTOS TARGET`
// with {pipeline, files: {name: text}, variables: {name: value}} on stdin. Answers JSON on stdout.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');

// The packages lie elsewhere: the folder that NODE_PACKAGES names.
const packages = createRequire(path.join(process.env.NODE_PACKAGES, 'package.json'));
const grpc = packages('@grpc/grpc-js');
const loader = packages('@grpc/proto-loader');

const STOPPED = 3;

function load(folder) {
  const files = fs
    .readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.proto'))
    .sort();
  const options = { includeDirs: [folder], keepCase: true, longs: Number, defaults: true };
  return { files, definition: loader.loadSync(files, options) };
}

// Every method with its kind, as path -> [client streams, server streams].
function services({ files, definition }) {
  const methods = {};
  for (const entry of Object.values(definition)) {
    if (typeof entry.format === 'string') continue; // a message or an enum
    for (const method of Object.values(entry)) {
      methods[method.path] = [method.requestStream, method.responseStream];
    }
  }
  return { files, methods };
}

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, (error, answer) => {
      if (error) return reject(error);
      if (answer.header.code < 0) return reject(new Error(answer.header.messages.join('\n')));
      return resolve(answer);
    });
  });
}

function send(client, method, requests) {
  return new Promise((resolve, reject) => {
    const stream = client[method]((error, answer) => {
      if (error) return reject(error);
      if (answer.header.code < 0) return reject(new Error(answer.header.messages.join('\n')));
      return resolve(answer);
    });
    for (const request of requests) stream.write(request);
    stream.end();
  });
}

async function receive(client, method, request) {
  const answers = [];
  for await (const answer of client[method](request)) {
    if (answer.header && answer.header.code < 0) throw new Error(answer.header.messages.join('\n'));
    answers.push(answer);
  }
  return answers;
}

async function flow({ definition }, target, wanted) {
  const platform = grpc.loadPackageDefinition(definition).nvidia.clara.platform;
  const credentials = grpc.credentials.createInsecure();
  const jobs = new platform.Jobs(target, credentials);
  const payloads = new platform.Payloads(target, credentials);
  const pipelines = new platform.Pipelines(target, credentials);
  const header = { api_version: { major: 0, minor: 6 }, user_agent: 'node' };

  const { pipeline_id } = await send(pipelines, 'Create', [
    { header, definition: { path: 'pipeline.yaml', content: wanted.pipeline } },
  ]);
  const created = await call(jobs, 'Create', {
    header, pipeline_id, name: 'from node', priority: 'JOB_PRIORITY_HIGHER', metadata: { from: 'node' },
  });
  // Several files in one stream, each in chunks, the size that of the whole file.
  const chunks = [];
  for (const [name, text] of Object.entries(wanted.files)) {
    const data = Buffer.from(text);
    for (let at = 0; at < data.length; at += 3) {
      const details = { name, size: data.length };
      chunks.push({ header, payload_id: created.payload_id, details, data: data.subarray(at, at + 3) });
    }
  }
  await send(payloads, 'Upload', chunks);
  const Variables = Object.entries(wanted.variables).map(([name, value]) => ({ name, value }));
  await call(jobs, 'Start', { header, job_id: created.job_id, Variables });

  let status;
  do {
    await new Promise((resolve) => setTimeout(resolve, 100));
    status = await call(jobs, 'Status', { header, job_id: created.job_id });
  } while (status.state !== STOPPED);

  const outputs = {};
  const listed = await receive(payloads, 'Details', { header, payload_id: created.payload_id });
  for (const { file } of listed) {
    if (!file.name.startsWith('/operators/')) continue;
    const parts = await receive(payloads, 'Download', {
      header, payload_id: created.payload_id, name: file.name,
    });
    outputs[file.name] = Buffer.concat(parts.map((part) => part.data)).toString();
  }
  const logs = await receive(jobs, 'ReadLogs', {
    header, job_id: created.job_id, operator_name: status.operator_details[0].name,
  });
  for (const client of [jobs, payloads, pipelines]) client.close();
  return { status, outputs, logs: logs.flatMap((part) => part.logs) };
}

async function main() {
  const [what, folder, target] = process.argv.slice(2);
  const loaded = load(folder);
  const answer =
    what === 'services'
      ? services(loaded)
      : await flow(loaded, target, JSON.parse(fs.readFileSync(0, 'utf8')));
  process.stdout.write(JSON.stringify(answer));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
