// Answers over TLS with the site's settings and the greeting.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const files = {
  key: readFileSync('/run/secrets/site.key'),
  cert: readFileSync('/run/secrets/certificate'),
};
createServer(files, (_request, response) => {
  response.end(readFileSync('/etc/nginx/conf.d/site.conf', 'utf8') + readFileSync('/greeting', 'utf8'));
}).listen(443);
