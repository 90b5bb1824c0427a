/**
 * User-defined resources: what `--node-generic-resource` may say, with SwarmKit's texts
 * (api/genericresource/parse.go), and the environment tasks get.
 */
import t from 'tap';
import {
  discreteResource,
  namedResource,
  parseGenericResources,
  resourceVariables,
} from '../../src/model/generic-resources.js';

void t.test('terms are counted or named kinds', (t) => {
  t.same(parseGenericResources([]), []);
  t.same(parseGenericResources(['ssd=2', 'gpu=UUID2', ' gpu = UUID1 ']), [
    namedResource('gpu', 'UUID1'),
    namedResource('gpu', 'UUID2'),
    discreteResource('ssd', 2n),
  ]);
  t.same(parseGenericResources(['gpu=only']), [namedResource('gpu', 'only')]);
  t.same(parseGenericResources(['n=9223372036854775808']), [
    namedResource('n', '9223372036854775808'),
  ]);
  t.end();
});

const REFUSED: readonly (readonly [terms: readonly string[], text: string])[] = [
  [['gpu'], "incorrect term gpu, missing '=' or malformed expression"],
  [['gpu=a=b'], "incorrect term gpu=a=b, missing '=' or malformed expression"],
  [['gpu=-1'], 'cannot ask for negative resource gpu'],
  [['gpu=1', 'gpu=a'], "mixed discrete and named resources in expression 'gpu=[1 a]'"],
  [['gpu=1', 'gpu=2'], "mixed discrete and named resources in expression 'gpu=[1 2]'"],
];
for (const [terms, text] of REFUSED) {
  void t.test(`refused: ${terms.join(' ')}`, (t) => {
    t.throws(() => parseGenericResources(terms), {
      code: 'invalid_argument',
      message: `could not parse GenericResource: ${text}`,
    });
    t.end();
  });
}

void t.test('variables have the kind in capitals and all values', (t) => {
  t.same(resourceVariables([namedResource('gpu-a', 'x'), namedResource('gpu-a', 'y')]), [
    'DOCKER_RESOURCE_GPU-A=x,y',
  ]);
  t.end();
});
