// A client of tus-js-client: uploads one file, and prints the bytes that the device has confirmed, a
// number on each line. It tries again for as long as a restart of the device needs.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const from = createRequire(path.join(process.env.NODE_PACKAGES, "package.json"));
const tus = from("tus-js-client");

const [file, endpoint, token, name] = process.argv.slice(2);
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  chunkSize: 4 * 1024 * 1024,
  uploadSize: fs.statSync(file).size,
  metadata: { filename: name },
  headers: { Authorization: `Bearer ${token}` },
  retryDelays: Array(120).fill(250),
  onChunkComplete: (size, accepted) => console.log(accepted),
  onError: (error) => {
    console.error(error);
    process.exit(1);
  },
  onSuccess: () => process.exit(0),
});
upload.start();
