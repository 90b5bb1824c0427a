/** The grammar of image references, held against the registry's own examples. */
import t from 'tap';
import { isImageReference } from '../../../src/manager/control/image-reference.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;

void t.test('references', async (t) => {
  const valid = [
    'web',
    'web:1',
    'skep-test/web:1',
    'docker.io/library/redis:7.2-alpine',
    'localhost/x',
    'localhost:5000/a/b_c/d__e-f:Tag_1.2',
    `web@${DIGEST}`,
    `web:1@${DIGEST}`,
    '[::1]:5000/x',
    'Registry.example.com/x',
  ];
  for (const text of valid) t.ok(isImageReference(text), text);
  const invalid = [
    '',
    'Web',
    'a b',
    ':1',
    'web:',
    'web:-x',
    'a//b',
    '-a/b',
    `web@${DIGEST}@${DIGEST}`,
    'web@sha256:abc',
    'a'.repeat(64),
    `x/${'a'.repeat(300)}`,
    `${'a'.repeat(60)}_`,
  ];
  for (const text of invalid) t.notOk(isImageReference(text), text);
});
