// Answers over TLS with the site's settings and the greeting.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const files = {
  key: readFileSync('/run/secrets/site.key'),
  cert: readFileSync('/run/secrets/certificate'),
};
createServer(files, (_request, response) => {
  const pages = ['/etc/nginx/conf.d/site.conf', '/greeting', '/homepage'];
  response.end(pages.map((file) => readFileSync(file, 'utf8')).join(''));
}).listen(443);
